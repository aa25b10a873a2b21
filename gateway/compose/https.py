"""An HTTPS listener from its settings: the certificates, and what its socket makes of a client."""

import os
import shlex
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from gateway.config.https import Https
from gateway.core.interfaces import Clock
from gateway.core.tls_policies import security_policy
from gateway.web.front import Front
from gateway.web.h1_connection import Http1Connection
from gateway.web.h2_connection import Http2Connection
from gateway.web.handshake import HTTP_1, Handshakes
from gateway.wire.key_pair import CertificateFiles
from gateway.wire.local_certificate import local_certificate, state_directory
from gateway.wire.tls import ALPN, Certificates, MutualTls

WATCH_SECONDS = 2.0
"""How often certificate files are looked at."""


@contextmanager
def certificates(
    https: Https, host: str, clock: Clock, *, http2: bool = True
) -> Iterator[tuple[Certificates, str]]:
    """Read the certificates of a listener, or make one; yields them and what to tell the operator.

    `http2` says whether it is offered (`routing.http2.enabled`, alb.md 4.1). Raises InvalidSetting
    for a file that cannot be used and for an unknown policy.
    """
    policy = security_policy(https.ssl_policy)
    mutual = None
    if https.trust_store is not None:
        mutual = MutualTls(https.trust_store, https.ignores_client_certificate_expiry)
    alpn = ALPN if http2 else (HTTP_1,)
    read = partial(Certificates, policy=policy, now=clock.now, alpn=alpn, mutual=mutual)
    if https.certificates:
        found = read([CertificateFiles(chain, key) for chain, key in https.certificates])
        yield found, "\n".join(found.warnings)
        return
    directory = state_directory(os.environ)
    with local_certificate(host, directory, now=clock.now()) as made:
        if made.authority.parent != directory:  # workers take the same
            os.environ["XDG_STATE_HOME"] = str(made.authority.parent.parent)
        yield read([made.files]), made.hint


def handshakes(front: Front, found: Certificates) -> Handshakes:
    """Return what makes a connection's protocol: HTTP/2 or HTTP/1.1 behind a TLS handshake."""
    http2 = partial(Http2Connection, front, front.shared_room)
    return Handshakes(front, found, make={"h2": http2, "http/1.1": partial(Http1Connection, front)})


def curl_option(https: Https | None) -> str:
    """Return what makes curl trust a generated certificate, with a blank behind
    it."""
    if https is None or https.certificates:
        return ""
    return f"--cacert {shlex.quote(str(state_directory(os.environ) / 'ca.pem'))} "


def watch(
    loop: AbstractEventLoop,
    found: Certificates,
    say: Callable[[str], None],
    told: Sequence[str] = (),
) -> None:
    """Read files again when they change, as long as the event loop runs; a problem is said once,
    though what could not be read is tried again and again."""
    problems = told
    try:
        if found.changed():
            problems = found.reload()
        for problem in problems:
            if problem not in told:
                say(problem)
    finally:
        loop.call_later(WATCH_SECONDS, watch, loop, found, say, problems)

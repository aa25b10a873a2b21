"""Generated certificates for tests, and handshakes in memory."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

from gateway.wire.key_pair import CertificateFiles

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)

NOW = datetime.now(UTC).timestamp()  # noqa: TID251 - OpenSSL looks at the real clock


def issue(path: Path, *names: str, **options: Any) -> CertificateFiles:
    """Write a certificate and its key to one file."""
    options.setdefault("key_type", trustme.KeyType.ECDSA)
    made = AUTHORITY.issue_cert(*names, **options)
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    return CertificateFiles(path)


def client_context(**options: Any) -> ssl.SSLContext:
    """Return the context of a client that trusts our authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no other authorities: they take 30 ms
    AUTHORITY.configure_trust(context)
    context.check_hostname = False
    for name, value in options.items():
        setattr(context, name, value)
    return context


def shake_hands(
    server: ssl.SSLContext,
    client: ssl.SSLContext | None = None,
    name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both sides after a handshake, the client first; raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = (client or client_context()).wrap_bio(
        to_client, to_server, server_hostname=name, session=session
    )
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert near.version()
    return near, far

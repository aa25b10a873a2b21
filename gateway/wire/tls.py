"""TLS contexts for a listener: certificates chosen by SNI, a security policy, mutual TLS, reload.

Names are looked up once, when files are read: a name leads to one context that holds the best ECDSA
and the best RSA certificate for it, and OpenSSL takes the one that the client can check, ECDSA
first. A connection uses the contexts that were there when its handshake began.
"""

import os
import ssl
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from gateway.core.errors import InvalidSetting
from gateway.core.http import Tls
from gateway.core.tls_policies import SecurityPolicy
from gateway.wire.client_certificates import client_certificate_headers
from gateway.wire.key_pair import (
    CertificateFiles,
    KeyPair,
    read_bytes,
    read_certificates,
    read_key_pair,
)
from gateway.wire.tls_sessions import keeps_no_sessions

ALPN = ("h2", "http/1.1")

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}

SERVER_NAME = "asked_server_name"
"""The attribute in which an SSLObject keeps the name that led to its certificate: Python has none
on the server's side."""

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Clients have to show a certificate of this trust store (alb.md 4.7, mode `verify`)."""

    trust_store: Path
    """CA certificates as PEM."""
    ignore_client_certificate_expiry: bool = False


Stamp = tuple[tuple[int, int, int] | None, ...]


class Certificates:
    """The certificates of one listener, the default one first, as contexts for handshakes."""

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        policy: SecurityPolicy,
        *,
        now: Callable[[], float],
        alpn: Sequence[str] = ALPN,
        mutual: MutualTls | None = None,
    ) -> None:
        """Read every file; raises InvalidSetting for the first that cannot be used."""
        if not files:
            raise InvalidSetting("an HTTPS listener needs a certificate")
        self._files = list(files)
        self._policy = policy
        self._now = now
        self._alpn = list(alpn)
        self._mutual = mutual
        self._trusted = ""
        self._pairs: list[KeyPair] = []
        self._stamp = self._look()
        if mutual is not None:
            self._trusted = _read_trust_store(mutual.trust_store)
        self._pairs = [self._read(item) for item in self._files]
        self.warnings = self._expiries()
        """A line for each certificate that is not valid at this time."""
        self._is_shared = True
        self._context = self._build()

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context for the next handshake; it changes the certificate by SNI itself.

        With mutual TLS no session is ever resumed, because a resumed one shows no certificate
        (alb.md 4.7). Where OpenSSL's cache of TLS 1.2 sessions cannot be switched off, each
        handshake begins with a context of its own, which the shared one then replaces.
        """
        return self._context if self._is_shared else self._introduction()

    def changed(self) -> bool:
        """Say whether a file is another one than when it was last read."""
        return self._look() != self._stamp

    def reload(self) -> list[str]:
        """Read every file again; one that cannot be used keeps what was read of it before.

        Returns a line per problem: the file and what is wrong with it, expiry among them.
        """
        self._stamp = self._look()  # before reading: what changes meanwhile is seen next time
        problems = []
        for index, files in enumerate(self._files):
            try:
                self._pairs[index] = self._read(files)
            except InvalidSetting as error:
                problems.append(f"{error}; the certificate before it stays in use")
        if self._mutual is not None:
            try:
                self._trusted = _read_trust_store(self._mutual.trust_store)
            except InvalidSetting as error:
                problems.append(f"{error}; the trust store before it stays in use")
        try:
            self._context = self._build()
        except OSError as error:
            problems.append(f"certificates: {error.strerror}; those before stay in use")
        if problems:  # perhaps for a passing reason: the next look tries again
            self._stamp = ()
        self.warnings = self._expiries()
        return problems + self.warnings

    def _look(self) -> Stamp:
        paths = [path for files in self._files for path in files.paths]
        if self._mutual is not None:
            paths.append(self._mutual.trust_store)
        return tuple(map(_stamp, paths))

    def _read(self, files: CertificateFiles) -> KeyPair:
        """Read a pair and have OpenSSL try it; raises InvalidSetting."""
        pair = read_key_pair(files)
        try:
            self._context_of((pair,))
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise InvalidSetting(f"{files.certificate}: OpenSSL refuses it: {reason}") from error
        except OSError as error:  # no descriptor left
            raise InvalidSetting(f"{files.certificate}: {error.strerror}") from error
        return pair

    def _expiries(self) -> list[str]:
        found = []
        for files, pair in zip(self._files, self._pairs, strict=True):
            if self._now() >= pair.valid_until:
                found.append(f"{files.certificate}: expired on {_day(pair.valid_until)}")
            elif self._now() < pair.valid_from:
                found.append(f"{files.certificate}: not valid before {_day(pair.valid_from)}")
        return found

    def _build(self) -> ssl.SSLContext:
        """Return the default certificate's context, with a way from it to the others."""
        default: tuple[KeyPair, ...] = (self._pairs[0],)
        contexts = {default: self._verifying(default)}
        named: dict[str, ssl.SSLContext] = {}
        for name, pairs in best_by_name(self._pairs).items():
            if pairs not in contexts:
                contexts[pairs] = self._verifying(pairs)
            named[name] = contexts[pairs]
        self._choose = _chooser(named)
        contexts[default].sni_callback = self._choose
        return contexts[default]

    def _context_of(self, pairs: tuple[KeyPair, ...]) -> ssl.SSLContext:
        """Return a context with these certificates; raises ssl.SSLError."""
        context = self._empty()
        for pair in pairs:
            with _in_memory(pair.certificate) as chain, _in_memory(pair.key) as key:
                context.load_cert_chain(*(f"/dev/fd/{file.fileno()}" for file in (chain, key)))
        return context

    def _verifying(self, pairs: tuple[KeyPair, ...]) -> ssl.SSLContext:
        """Return a context for handshakes; with mutual TLS it keeps no sessions, or `_is_shared`
        says that it does."""
        context = self._context_of(pairs)
        if self._mutual is not None:
            context.load_verify_locations(cadata=self._trusted)
            self._is_shared = keeps_no_sessions(context)
        return context

    def _empty(self) -> ssl.SSLContext:
        """Return a context with all settings, without certificates and trust store."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= (
            ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        )
        _apply(self._policy, context)
        context.set_alpn_protocols(self._alpn)
        if self._mutual is not None:
            _demand_certificates(context, self._mutual)
        return context

    def _introduction(self) -> ssl.SSLContext:
        """Return a context that only keeps the sessions of one handshake (SSL_set_SSL_CTX(3): the
        cache stays that of the first context)."""
        shared, choose = self._context, self._choose

        def take_shared(tls: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            tls.context = shared
            choose(tls, name, first)

        context = self._empty()
        context.sni_callback = take_shared
        return context


def best_by_name(pairs: Sequence[KeyPair]) -> dict[str, tuple[KeyPair, ...]]:
    """Return for each name the best certificate of each algorithm, ECDSA before RSA (alb.md
    4.1)."""
    best: dict[str, dict[str, KeyPair]] = {}
    for pair in pairs:
        for name in pair.names:
            rivals = best.setdefault(name, {})
            rival = rivals.get(pair.algorithm)
            if rival is None or pair.strength > rival.strength:
                rivals[pair.algorithm] = pair
    return {name: tuple(rivals[key] for key in sorted(rivals)) for name, rivals in best.items()}


def _chooser(
    named: dict[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Return an SNI callback: the exact name, then a wildcard of one label, then the default."""

    def choose(tls: ssl.SSLObject, name: str | None, _default: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower()
        context = named.get(name) or named.get("*." + name.partition(".")[2])
        if context is not None:
            tls.context = context
            setattr(tls, SERVER_NAME, name)

    return choose


def tls_of(tls: ssl.SSLObject) -> Tls:
    """Return what a handshake came to; raises ValueError for a client certificate that cannot be
    read."""
    cipher = tls.cipher()
    der = tls.getpeercert(binary_form=True)
    shown = client_certificate_headers(der) if der else []
    return Tls(
        version=tls.version() or "",
        cipher_suite=cipher[0] if cipher else "",
        server_name=getattr(tls, SERVER_NAME, ""),
        client_certificate=tuple((key.decode().lower(), value.decode()) for key, value in shown),
    )


@contextmanager
def undecodable_names_unreported() -> Iterator[None]:
    """Have nothing printed for a client that asks for a name which is not ASCII.

    Python refuses such a name before the SNI callback runs, ends the handshake and reports an
    exception that no caller can catch: a client could fill the log. For the process's main program.
    """
    report = sys.unraisablehook

    def filtered(unraisable: "sys.UnraisableHookArgs") -> None:
        is_name = isinstance(unraisable.object, bytes)
        if not (is_name and isinstance(unraisable.exc_value, UnicodeDecodeError)):
            report(unraisable)

    sys.unraisablehook = filtered
    try:
        yield
    finally:
        sys.unraisablehook = report


def _apply(policy: SecurityPolicy, context: ssl.SSLContext) -> None:
    """Set protocols and ciphers; TLS 1.0 and 1.1 need SHA-1, which OpenSSL allows at level 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the policy was chosen by name
        context.minimum_version = VERSIONS[policy.minimum]
        context.maximum_version = VERSIONS[policy.maximum]
    if policy.ciphers:
        level = ["@SECLEVEL=0"] if policy.is_legacy else []
        context.set_ciphers(":".join([*policy.ciphers, *level]))


def _demand_certificates(context: ssl.SSLContext, mutual: MutualTls) -> None:
    """Verify clients, in full handshakes alone (alb.md 4.7)."""
    context.verify_mode = ssl.CERT_REQUIRED
    if mutual.ignore_client_certificate_expiry:
        context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _read_trust_store(path: Path) -> str:
    """Return the CA certificates of a file; raises InvalidSetting."""
    pem = read_bytes(path)
    read_certificates(path, pem)
    return pem.decode("ascii", "ignore")  # the rest is comment


def _in_memory(data: bytes) -> IO[bytes]:
    """Return a file without a name: OpenSSL's loader takes a path, and a key is not for a disk."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("pem"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    file.write(data)
    file.seek(0)
    return file


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file, None for one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")

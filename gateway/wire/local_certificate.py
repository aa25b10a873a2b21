"""`--https` without a certificate: a generated one, for work on one's own machine.

A small authority stays in the user's state directory, so that a browser has to trust it once. It
may sign only for this machine's names and for private addresses (RFC 5280 section 4.2.1.10):
a thief of its key cannot pass for a site on the internet.
"""

import fcntl
import hashlib
import ipaddress
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.wire.key_pair import CertificateFiles

STATE_NAME = "albgate"

AUTHORITY_DAYS = 1825
LEAF_DAYS = 397
"""Browsers take no certificate that is valid for much longer."""

RENEW_DAYS = 30
"""What has less left than this is made again."""

PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
PRIVATE_6 = ("::1/128", "fc00::/7", "fe80::/10")

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - names no host

Identity = x509.DNSName | x509.IPAddress


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """A certificate for this machine, and how to make clients trust it."""

    files: CertificateFiles
    authority: Path
    """The certificate that clients have to trust."""
    hint: str
    """One or two lines for the user; curl needs `--cacert` with the authority."""


@dataclass(frozen=True, slots=True)
class _Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.certificate.public_bytes(Encoding.PEM) + key


def state_directory(environment: Mapping[str, str]) -> Path:
    """Return where the authority stays (XDG Base Directory Specification)."""
    home = environment.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:  # a user without a home
        base = Path(os.devnull)
    return base / STATE_NAME


@contextmanager
def local_certificate(host: str, directory: Path, *, now: float) -> Iterator[LocalCertificate]:
    """Give a certificate for localhost, this machine's name and the host that is listened on.

    `now` is in epoch seconds. A directory that cannot be used is replaced by a temporary one,
    which ends with the block; the hint says so.
    """
    today = datetime.fromtimestamp(now, UTC)
    try:
        made = _stored(host, directory, today)
    except OSError as error:
        with tempfile.TemporaryDirectory(prefix="albgate-") as temporary:
            made = _stored(host, Path(temporary) / STATE_NAME, today)
            reason = error.strerror or str(error)
            lost = f"{directory} cannot be used ({reason}): trust is lost when the gateway ends"
            yield LocalCertificate(made.files, made.authority, f"{lost}\n{made.hint}")
    else:
        yield made


def _stored(host: str, directory: Path, today: datetime) -> LocalCertificate:
    """Return what is stored and still good, made where it is not; raises OSError."""
    names = identities(host, socket.gethostname())
    digest = hashlib.sha256(repr(names).encode()).hexdigest()[:16]
    authority_path, leaf_path = directory / "ca.pem", directory / f"leaf-{digest}.pem"
    with _locked(directory):
        authority = _load(directory / "ca-key.pem", today)
        if authority is None or not _may_sign(authority.certificate, names):
            authority = _issue_authority(names, today)
            _write(directory / "ca-key.pem", authority.pem)
        _write(authority_path, authority.certificate.public_bytes(Encoding.PEM))
        leaf = _load(leaf_path, today)
        if leaf is None or not _is_signed(leaf.certificate, authority.certificate):
            _write(leaf_path, _issue_leaf(names, authority, today).pem)
    hint = f"browsers trust this certificate once {authority_path} is imported as an authority"
    return LocalCertificate(CertificateFiles(leaf_path), authority_path, hint)


def identities(host: str, machine: str) -> list[Identity]:
    """Return the names and addresses of a certificate, those that one can hold."""
    names = {name: None for name in ("localhost", machine.lower()) if NAME.fullmatch(name)}
    addresses = {ipaddress.ip_address("127.0.0.1"): None, ipaddress.ip_address("::1"): None}
    if host not in ANY_ADDRESS:
        try:
            addresses[ipaddress.ip_address(host.partition("%")[0])] = None
        except ValueError:
            names |= {host.lower(): None} if NAME.fullmatch(host) else {}
    return [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Own the directory, alone; raises OSError where another user owns it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.geteuid():
        raise PermissionError("it belongs to another user")
    directory.chmod(0o700)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield


def _write(path: Path, data: bytes) -> None:
    """Put a file in place whole, for its owner alone; the same content stays untouched."""
    if path.is_file() and path.read_bytes() == data:
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _load(path: Path, today: datetime) -> _Issued | None:
    """Return a stored certificate with its key, None when it is broken or nearly over."""
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, None)
    except (OSError, ValueError, TypeError):
        return None
    is_good = certificate.not_valid_after_utc - today >= timedelta(days=RENEW_DAYS)
    if is_good and isinstance(key, ec.EllipticCurvePrivateKey):
        return _Issued(certificate, key)
    return None


def _may_sign(authority: x509.Certificate, names: Sequence[Identity]) -> bool:
    """Say whether an authority is allowed to sign for all of these."""
    try:
        found = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    permitted = list(found.permitted_subtrees or ())
    return all(_is_within(name, permitted) for name in names)


def _is_within(name: Identity, permitted: Sequence[x509.GeneralName]) -> bool:
    if isinstance(name, x509.DNSName):
        return name in permitted
    networks = [item.value for item in permitted if isinstance(item, x509.IPAddress)]
    return any(
        isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and name.value in network
        for network in networks
    )


def _is_signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made again
        return False
    return True


def _issue_authority(names: Sequence[Identity], today: datetime) -> _Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"albgate local CA of {socket.gethostname()}"[:64])
    private = [ipaddress.ip_network(text) for text in (*PRIVATE, *PRIVATE_6)]
    ranges: list[x509.GeneralName] = [x509.IPAddress(network) for network in private]
    others = [name for name in names if not _is_within(name, ranges)]
    single = [
        x509.IPAddress(ipaddress.ip_network(str(name.value)))
        if isinstance(name, x509.IPAddress)
        else name
        for name in others
    ]
    builder = (
        _builder(subject, subject, key.public_key(), today, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints([*single, *ranges], None), critical=True)
    )
    return _Issued(builder.sign(key, SHA256()), key)


def _issue_leaf(names: Sequence[Identity], authority: _Issued, today: datetime) -> _Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _builder(_subject("albgate"), issuer, key.public_key(), today, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(known, critical=False)
    )
    return _Issued(builder.sign(authority.key, SHA256()), key)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    today: datetime,
    days: int,
) -> x509.CertificateBuilder:
    """Return what every certificate has; valid from yesterday, for clocks that differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=days - 1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

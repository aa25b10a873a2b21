"""One certificate chain with its private key, read from PEM files and understood.

What is read is what is served: OpenSSL gets these bytes, not the files, which may change between a
look and the next.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.core.errors import InvalidSetting

Algorithm = Literal["ECDSA", "RSA"]
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The files of a certificate chain (leaf first) and its private key, as PEM."""

    certificate: Path
    key: Path | None = None
    """None when the certificate's file holds the key as well."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files there are."""
        return (self.certificate,) if self.key is None else (self.certificate, self.key)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its key as they were when they were read."""

    certificate: bytes
    key: bytes
    names: frozenset[str]
    """DNS names in lower case; a wildcard begins with `*.`."""
    algorithm: Algorithm
    strength: tuple[int, int, float]
    """Hash, key length and end of validity: ALB's order of choice within an algorithm (alb.md
    4.1)."""
    valid_from: float
    """Epoch seconds."""
    valid_until: float
    """Epoch seconds."""


def read_key_pair(files: CertificateFiles) -> KeyPair:
    """Read and check the files; raises InvalidSetting that names the file and what is wrong."""
    chain = read_bytes(files.certificate)
    key_path = files.key or files.certificate
    key = chain if files.key is None else read_bytes(files.key)
    leaf = read_certificates(files.certificate, chain)[0]
    try:
        public = leaf.public_key()
        names = _names(leaf)
        digest = leaf.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSetting(f"{files.certificate}: a certificate that is malformed") from error
    if not isinstance(public, PublicKey):
        raise InvalidSetting(f"{files.certificate}: its key is neither RSA nor ECDSA")
    if _encoded(public) != _public_key(key_path, key):
        raise InvalidSetting(f"{key_path}: the key does not belong to {files.certificate}")
    ends = leaf.not_valid_after_utc.timestamp()
    return KeyPair(
        certificate=chain,
        key=key,
        names=names,
        algorithm="RSA" if isinstance(public, rsa.RSAPublicKey) else "ECDSA",
        strength=(digest.digest_size if digest else 0, public.key_size, ends),
        valid_from=leaf.not_valid_before_utc.timestamp(),
        valid_until=ends,
    )


def read_bytes(path: Path) -> bytes:
    """Read a file; raises InvalidSetting."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidSetting(f"{path}: cannot be read: {error.strerror}") from error


def read_certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a file, one at least; raises InvalidSetting."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidSetting(f"{path}: no PEM certificate, or a malformed one") from error


def _public_key(path: Path, pem: bytes) -> bytes:
    """Return what a private key's public half looks like; raises InvalidSetting."""
    try:
        return _encoded(load_pem_private_key(pem, None).public_key())  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidSetting(f"{path}: the key has a password; store it without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSetting(f"{path}: no PEM private key, or a malformed one") from error


def _encoded(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(leaf: x509.Certificate) -> frozenset[str]:
    """Return the names of a certificate: the subject's only where there are no others (RFC 6125
    section 6.4.4)."""
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = alternative.value.get_values_for_type(x509.DNSName)
    common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return frozenset(name.lower() for name in names or [str(item.value) for item in common])

"""What is read from certificate files, and what is said about those that cannot be used."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.core.errors import InvalidSetting
from gateway.wire.key_pair import CertificateFiles, read_key_pair
from tests.wire.authority import AUTHORITY, NOW, issue


@pytest.fixture
def parts(tmp_path: Path) -> CertificateFiles:
    made = AUTHORITY.issue_cert("a.test", key_type=trustme.KeyType.RSA)
    (tmp_path / "key.pem").write_bytes(made.private_key_pem.bytes())
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    (tmp_path / "chain.pem").write_bytes(chain)
    return CertificateFiles(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_names_and_key_are_understood(tmp_path: Path) -> None:
    pair = read_key_pair(issue(tmp_path / "a.pem", "A.Test", "*.b.test", "127.0.0.1"))

    assert pair.names == {"a.test", "*.b.test"}
    assert pair.algorithm == "ECDSA"
    assert pair.strength[:2] == (32, 256)
    assert pair.valid_from < NOW < pair.valid_until == pair.strength[2]


def test_key_may_have_a_file_of_its_own(parts: CertificateFiles) -> None:
    pair = read_key_pair(parts)

    assert pair.algorithm == "RSA"
    assert pair.strength[1] == 2048
    assert parts.paths == (parts.certificate, parts.key)


def test_key_may_come_before_the_chain(parts: CertificateFiles) -> None:
    assert parts.key
    parts.certificate.write_bytes(parts.key.read_bytes() + parts.certificate.read_bytes())

    assert read_key_pair(CertificateFiles(parts.certificate)).names == {"a.test"}


def test_subject_is_the_name_of_a_certificate_without_others(tmp_path: Path) -> None:
    pair = read_key_pair(issue(tmp_path / "a.pem", common_name="Old.Test"))

    assert pair.names == {"old.test"}


def test_subject_does_not_count_as_a_name_of_a_certificate_with_others(tmp_path: Path) -> None:
    pair = read_key_pair(issue(tmp_path / "a.pem", "a.test", common_name="old.test"))

    assert pair.names == {"a.test"}


def refusal(files: CertificateFiles) -> str:
    with pytest.raises(InvalidSetting) as raised:
        read_key_pair(files)
    said = str(raised.value)
    assert "\n" not in said
    return said


def test_missing_file_is_named(parts: CertificateFiles) -> None:
    missing = parts.certificate.with_name("missing.pem")

    for files in (CertificateFiles(missing), CertificateFiles(parts.certificate, missing)):
        assert refusal(files) == f"{missing}: cannot be read: No such file or directory"


def test_directory_is_not_a_certificate(tmp_path: Path) -> None:
    assert refusal(CertificateFiles(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_file_that_is_not_pem_is_named(parts: CertificateFiles, data: bytes) -> None:
    assert parts.key
    for path, what in ((parts.certificate, "certificate"), (parts.key, "private key")):
        kept = path.read_bytes()
        path.write_bytes(data)
        assert refusal(parts) == f"{path}: no PEM {what}, or a malformed one"
        path.write_bytes(kept)


def test_certificate_without_its_key_is_refused(parts: CertificateFiles) -> None:
    files = CertificateFiles(parts.certificate)

    assert refusal(files) == f"{parts.certificate}: no PEM private key, or a malformed one"


def test_key_of_another_certificate_is_refused(tmp_path: Path, parts: CertificateFiles) -> None:
    other = issue(tmp_path / "other.pem", "a.test", key_type=trustme.KeyType.RSA).certificate
    said = refusal(CertificateFiles(parts.certificate, other))

    assert said == f"{other}: the key does not belong to {parts.certificate}"


def test_key_with_a_password_is_refused(parts: CertificateFiles) -> None:
    assert parts.key
    key = load_pem_private_key(parts.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    parts.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))

    assert refusal(parts) == f"{parts.key}: the key has a password; store it without one"


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    start = datetime.fromtimestamp(NOW, UTC)
    end = start + timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, start, end).sign(key, None)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "1.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM) + plain)

    assert refusal(CertificateFiles(path)) == f"{path}: its key is neither RSA nor ECDSA"

"""The headers that a target sees of a client certificate (alb.md 4.7)."""

import re
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.wire.client_certificates import client_certificate_headers

KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Washington"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mTLS, Inc."),
        x509.NameAttribute(NameOID.COMMON_NAME, "root.test"),
    ]
)
NAMES = ["Serial-Number", "Issuer", "Subject", "Validity", "Leaf"]


def certificate(common_name: str = "client", serial: int = 0x03A5B1) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(ISSUER)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(datetime(2023, 9, 21, 1, 50, 17, tzinfo=UTC))
        .not_valid_after(datetime(2024, 9, 20, 1, 50, 17, tzinfo=UTC))
        .sign(KEY, SHA256())
    )


def headers(made: x509.Certificate) -> dict[str, str]:
    found = client_certificate_headers(made.public_bytes(Encoding.DER))
    assert [name for name, _ in found] == [
        f"X-Amzn-Mtls-Clientcert-{name}".encode() for name in NAMES
    ]
    return dict(zip(NAMES, (value.decode() for _, value in found), strict=True))


def test_headers_are_those_of_the_guide() -> None:
    found = headers(certificate())

    assert found["Serial-Number"] == "03A5B1"
    assert found["Issuer"] == r"CN=root.test,O=mTLS\, Inc.,ST=Washington,C=US"
    assert found["Subject"] == "CN=client"
    assert found["Validity"] == "NotBefore=2023-09-21T01:50:17Z;NotAfter=2024-09-20T01:50:17Z"


@pytest.mark.parametrize(
    ("serial", "shown"), [(1, "01"), (0xAB, "AB"), (0xABC, "0ABC"), (2**64 - 1, "F" * 16)]
)
def test_serial_number_is_whole_bytes(serial: int, shown: str) -> None:
    assert headers(certificate(serial=serial))["Serial-Number"] == shown


def test_leaf_is_an_encoded_pem_with_aws_safe_characters() -> None:
    made = certificate()
    leaf = headers(made)["Leaf"]

    assert unquote(leaf) == made.public_bytes(Encoding.PEM).decode()
    assert re.fullmatch(r"(?:[A-Za-z0-9+=/-]|%20|%0A)+", leaf)
    assert leaf.startswith("-----BEGIN%20CERTIFICATE-----%0AMII")
    assert any(character in leaf for character in "+/=")


def test_control_characters_of_a_name_cannot_end_a_header() -> None:
    subject = headers(certificate("a\r\nX-Amzn-Mtls-Clientcert-Subject: CN=b\x7f"))["Subject"]

    assert subject == r"CN=a\0D\0AX-Amzn-Mtls-Clientcert-Subject: CN=b\7F"


def test_name_that_is_not_ascii_is_utf_8() -> None:
    assert headers(certificate("Zoë"))["Subject"] == "CN=Zoë"


@pytest.mark.parametrize("der", [b"", b"garbage"])
def test_malformed_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"parsing|invalid|error"):
        client_certificate_headers(der)

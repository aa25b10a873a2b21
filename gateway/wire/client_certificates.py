"""A verified client certificate as the headers that a target sees (alb.md 4.7)."""

from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.core.http import Headers

SAFE = "+=/"
"""What AWS leaves as it is in a URL-encoded PEM, besides letters, digits and `-_.~`."""

MOMENT = "%Y-%m-%dT%H:%M:%SZ"

CONTROLS = {code: f"\\{code:02X}" for code in (*range(0x20), 0x7F)}
"""RFC 4514 section 2.4 allows any byte as `\\` and two digits."""


def client_certificate_headers(der: bytes) -> Headers:
    """Return the five X-Amzn-Mtls-Clientcert-* headers for a client's leaf certificate.

    Made once per connection; the caller keeps it. Raises ValueError for a malformed one (alb.md
     4.7, RFC 2253).
    """
    leaf = x509.load_der_x509_certificate(der)
    serial = f"{leaf.serial_number:X}"
    pem = leaf.public_bytes(Encoding.PEM).decode("ascii")
    validity = (
        f"NotBefore={leaf.not_valid_before_utc.strftime(MOMENT)};"
        f"NotAfter={leaf.not_valid_after_utc.strftime(MOMENT)}"
    )
    values = {
        b"X-Amzn-Mtls-Clientcert-Serial-Number": serial.zfill(len(serial) + len(serial) % 2),
        b"X-Amzn-Mtls-Clientcert-Issuer": _text(leaf.issuer),
        b"X-Amzn-Mtls-Clientcert-Subject": _text(leaf.subject),
        b"X-Amzn-Mtls-Clientcert-Validity": validity,
        b"X-Amzn-Mtls-Clientcert-Leaf": quote(pem, safe=SAFE),
    }
    return [(name, value.encode()) for name, value in values.items()]


def _text(name: x509.Name) -> str:
    """Return a distinguished name on one line, the most specific part first (RFC 2253)."""
    return name.rfc4514_string().translate(CONTROLS)

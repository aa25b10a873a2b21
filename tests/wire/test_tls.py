"""Which certificate a client gets, what a policy allows, mutual TLS, and files that change."""

import errno
import os
import shutil
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.core.errors import InvalidSetting
from gateway.core.http import Tls
from gateway.core.tls_policies import POLICIES, PREFIX, security_policy
from gateway.wire import tls
from gateway.wire.key_pair import CertificateFiles, read_key_pair
from gateway.wire.tls import (
    Certificates,
    best_by_name,
    tls_of,
    undecodable_names_unreported,
)
from tests.wire.authority import NOW, client_context, issue, shake_hands
from tests.wire.handshakes import DAY, certificates

RSA = trustme.KeyType.RSA


def shown(served: Certificates, name: str | None = None) -> tuple[str, str]:
    """Return the first name and the key's algorithm of the certificate that a client gets."""
    near, _ = shake_hands(served.context, client_context(), name)
    der = near.getpeercert(binary_form=True)
    assert der
    leaf = x509.load_der_x509_certificate(der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    kind = type(leaf.public_key()).__name__
    return str(names.get_values_for_type(x509.DNSName)[0]), "RSA" if "RSA" in kind else "ECDSA"


# Choice


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "default.test"),
        ("default.test", "default.test"),
        ("unknown.test", "default.test"),
        ("a.shop.test", "a.shop.test"),
        ("A.Shop.TEST", "a.shop.test"),
        ("b.shop.test", "*.shop.test"),
        ("c.b.shop.test", "default.test"),
        ("shop.test", "default.test"),
    ],
)
def test_certificate_is_chosen_by_name(tmp_path: Path, name: str | None, expected: str) -> None:
    served = certificates(
        issue(tmp_path / "1.pem", "default.test"),
        issue(tmp_path / "2.pem", "*.shop.test"),
        issue(tmp_path / "3.pem", "a.shop.test"),
    )

    assert shown(served, name)[0] == expected


@pytest.mark.parametrize("is_rsa_first", [True, False])
def test_ecdsa_comes_before_rsa_for_clients_that_can_check_it(
    tmp_path: Path, is_rsa_first: bool
) -> None:
    both = [
        issue(tmp_path / "rsa.pem", "shop.test", key_type=RSA),
        issue(tmp_path / "ecdsa.pem", "shop.test"),
    ]
    served = certificates(
        issue(tmp_path / "default.pem", "default.test"), *(both if is_rsa_first else both[::-1])
    )

    assert shown(served, "shop.test") == ("shop.test", "ECDSA")
    client = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    near, _ = shake_hands(served.context, client, "shop.test")
    assert near.cipher()[0] == "ECDHE-RSA-AES128-GCM-SHA256"  # type: ignore[index]


def test_best_of_equal_certificates_is_taken(tmp_path: Path) -> None:
    until = datetime.fromtimestamp(NOW, UTC)
    short = read_key_pair(issue(tmp_path / "1.pem", "a.test", not_after=until + DAY))
    long = read_key_pair(issue(tmp_path / "2.pem", "a.test", not_after=until + 2 * DAY))
    rsa = read_key_pair(issue(tmp_path / "3.pem", "a.test", "b.test", key_type=RSA))

    assert best_by_name([short, rsa, long]) == {"a.test": (long, rsa), "b.test": (rsa,)}
    assert best_by_name([long, short])["a.test"] == (long,)


def test_name_that_is_not_text_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"), issue(tmp_path / "2.pem", "b.test"))
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="name.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read().replace(b"name.test", b"\xff\xfeme.test")
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    for _ in range(2):
        incoming = ssl.MemoryBIO()
        incoming.write(hello)
        server = served.context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
        with undecodable_names_unreported(), pytest.raises(ssl.SSLError):
            server.do_handshake()
        assert reported == []

    assert sys.unraisablehook == reported.append


def test_other_unraisable_exceptions_are_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError

    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda item: reported.append(item.exc_type))
    with undecodable_names_unreported():
        Failing()

    assert reported == [ValueError]


# Policy


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_can_be_had(tmp_path: Path, name: str) -> None:
    policy = security_policy(name)
    served = certificates(issue(tmp_path / "1.pem", "a.test", key_type=RSA), policy=name)
    offered = [item["name"] for item in served.context.get_ciphers()]
    older = [cipher for cipher in offered if not cipher.startswith("TLS_")]

    assert older == list(policy.ciphers) or not policy.ciphers
    near, _ = shake_hands(served.context, client_context())
    assert near.version() == policy.maximum


@pytest.mark.parametrize(
    ("policy", "version", "is_taken"),
    [
        ("TLS13-1-3-2021-06", ssl.TLSVersion.TLSv1_2, False),
        ("TLS13-1-2-Res-2021-06", ssl.TLSVersion.TLSv1_2, True),
        ("TLS13-1-2-Res-2021-06", ssl.TLSVersion.TLSv1_1, False),
        ("TLS13-1-1-2021-06", ssl.TLSVersion.TLSv1_1, True),
        ("TLS13-1-1-2021-06", ssl.TLSVersion.TLSv1, False),
        ("2016-08", ssl.TLSVersion.TLSv1, True),
        ("FS-1-2-Res-2020-10", ssl.TLSVersion.TLSv1_3, False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_policy_bounds_the_protocol(
    tmp_path: Path, policy: str, version: ssl.TLSVersion, is_taken: bool
) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"), policy=PREFIX + policy)
    client = client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = version

    if is_taken:
        assert shake_hands(served.context, client)[0].version() == version.name.replace("_", ".")
    else:
        with pytest.raises(ssl.SSLError):
            shake_hands(served.context, client)


def test_server_prefers_its_own_order(tmp_path: Path) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"))
    client = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")

    near, _ = shake_hands(served.context, client)
    assert near.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"  # type: ignore[index]


def test_neither_compression_nor_renegotiation(tmp_path: Path) -> None:
    options = certificates(issue(tmp_path / "1.pem", "a.test")).context.options

    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["http/1.1", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["spdy/3"], None),
        ([], None),
    ],
)
def test_protocol_is_the_first_of_ours(
    tmp_path: Path, offered: list[str], chosen: str | None
) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"))
    client = client_context()
    client.set_alpn_protocols(offered)

    assert shake_hands(served.context, client)[1].selected_alpn_protocol() == chosen


# Files


def test_a_listener_needs_a_certificate() -> None:
    with pytest.raises(InvalidSetting, match="needs a certificate"):
        certificates()


def test_broken_file_stops_the_start(tmp_path: Path) -> None:
    good = issue(tmp_path / "1.pem", "a.test")
    (tmp_path / "2.pem").write_text("nothing")

    with pytest.raises(InvalidSetting, match=r"2\.pem: no PEM certificate"):
        certificates(good, CertificateFiles(tmp_path / "2.pem"))


def test_key_that_openssl_refuses_stops_the_start(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65_537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    moment = datetime.fromtimestamp(NOW, UTC)
    weak = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, moment - DAY, moment + DAY)
    ).sign(key, SHA256())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "1.pem").write_bytes(weak.public_bytes(Encoding.PEM) + plain)

    with pytest.raises(InvalidSetting, match=r"1\.pem: OpenSSL refuses it: ee key too small"):
        certificates(CertificateFiles(tmp_path / "1.pem"))


def test_changed_file_is_seen_and_served(tmp_path: Path) -> None:
    files = [issue(tmp_path / "1.pem", "a.test"), issue(tmp_path / "2.pem", "b.test")]
    served = certificates(*files)
    before = served.context
    assert not served.changed()

    issue(tmp_path / "2.pem", "c.test")

    assert served.changed()
    assert shown(served, "c.test")[0] == "a.test"
    assert served.reload() == []
    assert not served.changed()
    assert shown(served, "c.test")[0] == "c.test"
    assert shown(served, "b.test")[0] == "a.test"
    assert served.context is not before


def test_replaced_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    files = issue(tmp_path / "1.pem", "a.test")
    served = certificates(files)
    shutil.copy2(files.certificate, tmp_path / "new.pem")
    (tmp_path / "new.pem").replace(files.certificate)

    assert served.changed()


@pytest.mark.parametrize("damage", ["missing", "broken", "other key"])
def test_broken_file_keeps_the_certificate_and_the_others_are_renewed(
    tmp_path: Path, damage: str
) -> None:
    first = issue(tmp_path / "1.pem", "a.test")
    second = issue(tmp_path / "2.pem", "b.test")
    assert second.key is None
    split = CertificateFiles(second.certificate, tmp_path / "2.key")
    shutil.copy(second.certificate, tmp_path / "2.key")
    served = certificates(first, split)

    match damage:
        case "missing":
            second.certificate.unlink()
        case "broken":
            second.certificate.write_text("nothing")
        case _:
            issue(tmp_path / "2.pem", "b.test")
    issue(tmp_path / "1.pem", "c.test")
    (problem,) = served.reload()

    assert str(tmp_path / "2.") in problem
    assert problem.endswith("; the certificate before it stays in use")
    assert shown(served, "b.test")[0] == "b.test"
    assert shown(served)[0] == "c.test"
    assert served.changed()  # what could not be read is tried again


def test_certificate_outside_its_time_is_served_with_a_warning(tmp_path: Path) -> None:
    moment = datetime.fromtimestamp(NOW, UTC)
    old = issue(tmp_path / "1.pem", "a.test", not_after=moment - DAY)
    early = issue(tmp_path / "2.pem", "b.test", not_before=moment + DAY)
    served = certificates(old, early)
    expected = [
        f"{old.certificate}: expired on {moment - DAY:%Y-%m-%d}",
        f"{early.certificate}: not valid before {moment + DAY:%Y-%m-%d}",
    ]

    assert served.warnings == expected
    assert served.reload() == expected


def test_system_without_files_in_memory_serves_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)

    assert shown(certificates(issue(tmp_path / "1.pem", "a.test")))[0] == "a.test"


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_no_key_is_left_in_a_file_or_a_descriptor(tmp_path: Path) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"))
    before = descriptors()
    served.reload()

    assert descriptors() == before
    assert [path.name for path in tmp_path.iterdir()] == ["1.pem"]


# What came of it


@pytest.mark.parametrize(
    ("name", "server_name"), [(None, ""), ("A.Test", "a.test"), ("unknown.test", "")]
)
def test_handshake_tells_version_cipher_and_name(
    tmp_path: Path, name: str | None, server_name: str
) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"))
    _, far = shake_hands(served.context, client_context(), name)

    assert tls_of(far) == Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", server_name)


def test_reload_without_a_descriptor_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"))
    before = served.context
    monkeypatch.setattr(tls, "_in_memory", no_descriptor)

    problems = served.reload()

    assert problems == [
        f"{tmp_path}/1.pem: Too many open files; the certificate before it stays in use",
        "certificates: Too many open files; those before stay in use",
    ]
    assert served.context is before
    assert served.changed()  # so that the next look tries again


def no_descriptor(_data: bytes) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

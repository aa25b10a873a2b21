"""Mutual TLS in whole handshakes: which clients are let in, and what a trust store costs."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.core.errors import InvalidSetting
from gateway.core.tls_policies import security_policy
from gateway.wire import tls
from gateway.wire.key_pair import CertificateFiles
from gateway.wire.tls import (
    Certificates,
    MutualTls,
    tls_of,
)
from tests.wire.authority import AUTHORITY, NOW, client_context, issue, shake_hands
from tests.wire.handshakes import DAY, certificates

# Mutual TLS


@pytest.fixture(params=["shared", "introduced"])
def trust_store(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a trust store, once where OpenSSL's session cache can be switched off and once where
    it cannot."""
    if request.param == "introduced":
        monkeypatch.setattr(tls, "keeps_no_sessions", lambda _context: False)
    path = tmp_path / "trusted.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def client_of(files: CertificateFiles, **options: Any) -> ssl.SSLContext:
    client = client_context(**options)
    client.load_cert_chain(files.certificate)
    return client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_of_the_trust_store_is_let_in(
    tmp_path: Path, trust_store: Path, version: ssl.TLSVersion
) -> None:
    served = certificates(
        issue(tmp_path / "1.pem", "a.test"),
        issue(tmp_path / "2.pem", "b.test"),
        mutual=MutualTls(trust_store),
    )
    for name in (None, "a.test", "b.test"):
        client = client_of(issue(tmp_path / "c.pem", "client.test"), maximum_version=version)
        _, far = shake_hands(served.context, client, name)
        assert far.getpeercert()
        assert far.getpeercert(binary_form=True)


@pytest.mark.parametrize("presented", ["none", "stranger", "expired"])
@pytest.mark.parametrize("name", ["a.test", "b.test"])
def test_client_without_a_good_certificate_is_not_let_in(
    tmp_path: Path, trust_store: Path, presented: str, name: str
) -> None:
    served = certificates(
        issue(tmp_path / "1.pem", "a.test"),
        issue(tmp_path / "2.pem", "b.test"),
        mutual=MutualTls(trust_store),
    )
    client = client_context()
    if presented == "stranger":
        trustme.CA().issue_cert("x.test").configure_cert(client)
    elif presented == "expired":
        client = client_of(expired(tmp_path))

    with pytest.raises(ssl.SSLError):
        shake_hands(served.context, client, name)


def expired(folder: Path) -> CertificateFiles:
    yesterday = datetime.fromtimestamp(NOW, UTC) - DAY
    return issue(folder / "expired.pem", "client.test", not_after=yesterday)


def test_expiry_can_be_ignored(tmp_path: Path, trust_store: Path) -> None:
    mutual = MutualTls(trust_store, ignore_client_certificate_expiry=True)
    served = certificates(issue(tmp_path / "1.pem", "a.test"), mutual=mutual)

    _, far = shake_hands(served.context, client_of(expired(tmp_path)))
    assert far.getpeercert()
    with pytest.raises(ssl.SSLError):
        shake_hands(served.context)


def test_no_ticket_is_given_to_clients_with_certificates(tmp_path: Path, trust_store: Path) -> None:
    own = issue(tmp_path / "1.pem", "a.test")
    for mutual, count in ((None, 2), (MutualTls(trust_store), 0)):
        context = certificates(own, mutual=mutual).context
        assert context.num_tickets == count
        assert bool(context.options & ssl.OP_NO_TICKET) is (mutual is not None)


def test_trust_store_is_reloaded_and_a_broken_one_kept(tmp_path: Path, trust_store: Path) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"), mutual=MutualTls(trust_store))
    other = trustme.CA()
    stranger = client_context()
    other.issue_cert("x.test").configure_cert(stranger)

    trust_store.write_text("nothing")
    assert served.changed()
    expected = f"{trust_store}: no PEM certificate, or a malformed one; the trust store before it"
    assert served.reload() == [f"{expected} stays in use"]
    client = client_of(issue(tmp_path / "c.pem", "client.test"))
    assert shake_hands(served.context, client)[1].getpeercert()

    other.cert_pem.write_to_path(str(trust_store))
    assert served.reload() == []
    assert shake_hands(served.context, stranger)[1].getpeercert()
    with pytest.raises(ssl.SSLError):
        shake_hands(served.context, client)


@pytest.mark.parametrize("data", [b"", b"nothing"])
def test_trust_store_without_a_certificate_stops_the_start(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "trusted.pem").write_bytes(data)

    with pytest.raises(InvalidSetting, match=r"trusted\.pem: no PEM certificate"):
        certificates(
            issue(tmp_path / "1.pem", "a.test"), mutual=MutualTls(tmp_path / "trusted.pem")
        )


def test_handshake_tells_the_client_certificate(tmp_path: Path, trust_store: Path) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"), mutual=MutualTls(trust_store))
    files = issue(tmp_path / "c.pem", "client.test", common_name="client")
    _, far = shake_hands(served.context, client_of(files))
    headers = dict(tls_of(far).client_certificate)

    assert len(headers) == 5
    assert "CN=client" in headers["x-amzn-mtls-clientcert-subject"]
    assert all(key.startswith("x-amzn-mtls-clientcert-") for key in headers)


def test_comment_in_any_language_does_not_spoil_a_trust_store(tmp_path: Path) -> None:
    store = tmp_path / "store.pem"
    store.write_bytes("# Főtanúsítvány\n".encode() + AUTHORITY.cert_pem.bytes())

    served = certificates(issue(tmp_path / "1.pem", "a.test"), mutual=MutualTls(store))

    assert len(served.context.get_ca_certs()) == 1


@pytest.mark.parametrize("name", [None, "b.test"])
def test_client_of_mutual_tls_shows_its_certificate_every_time(
    tmp_path: Path, trust_store: Path, name: str | None
) -> None:
    """A session that is resumed shows none (alb.md 4.7), and TLS 1.2 resumes by number too."""
    own = issue(tmp_path / "own.pem", "client.test")
    client = client_of(own, maximum_version=ssl.TLSVersion.TLSv1_2)
    pairs = [issue(tmp_path / f"{site}.pem", f"{site}.test") for site in "ab"]
    reused = {}
    for mutual in (None, MutualTls(trust_store)):
        served = certificates(*pairs, mutual=mutual)
        first, _ = shake_hands(served.context, client, name)
        again, far = shake_hands(served.context, client, name, session=first.session)
        reused[mutual is None] = again.session_reused

    assert reused == {True: True, False: False}
    assert far.getpeercert()


def test_trust_store_is_not_read_for_each_handshake(tmp_path: Path, trust_store: Path) -> None:
    served = certificates(issue(tmp_path / "1.pem", "a.test"), mutual=MutualTls(trust_store))
    first, second = served.context, served.context

    assert first is second or first.get_ca_certs() == second.get_ca_certs() == []


def test_policy_holds_for_clients_with_certificates(tmp_path: Path, trust_store: Path) -> None:
    policy = security_policy("ELBSecurityPolicy-TLS13-1-3-2021-06")
    files = [issue(tmp_path / "1.pem", "a.test")]
    served = Certificates(files, policy, now=lambda: NOW, mutual=MutualTls(trust_store))
    old = client_of(files[0], maximum_version=ssl.TLSVersion.TLSv1_2)

    with pytest.raises(ssl.SSLError, match="PROTOCOL"):
        shake_hands(served.context, old)
    new = client_of(files[0])
    new.set_alpn_protocols(["h2"])
    near, _ = shake_hands(served.context, new)
    assert (near.version(), near.selected_alpn_protocol()) == ("TLSv1.3", "h2")

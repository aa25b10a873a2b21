"""A certificate for one's own machine: made once, trusted once, and of no use to a thief."""

import os
import ssl
import stat
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from gateway.core.tls_policies import DEFAULT, security_policy
from gateway.wire import local_certificate as module
from gateway.wire.local_certificate import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    LocalCertificate,
    identities,
    local_certificate,
    state_directory,
)
from gateway.wire.tls import Certificates

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0


def made(directory: Path, host: str = "127.0.0.1", now: float = NOW) -> LocalCertificate:
    with local_certificate(host, directory, now=now) as local:
        return local


def names(local: LocalCertificate) -> list[str]:
    leaf = x509.load_pem_x509_certificate(local.files.certificate.read_bytes())
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(item.value) for item in found]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def handshake(local: LocalCertificate, authority: Path, name: str) -> None:
    """Let a client that trusts an authority shake hands in memory; raises ssl.SSLError."""
    served = Certificates([local.files], security_policy(DEFAULT), now=lambda: NOW)
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags |= 0x200000  # what counts here is not the day of the test
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = served.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"
    assert client.getpeercert()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "192.168.7.7"])
def test_client_that_trusts_the_authority_trusts_the_certificate(tmp_path: Path, name: str) -> None:
    local = made(tmp_path, "192.168.7.7")

    handshake(local, local.authority, name)
    assert local.authority.parent == tmp_path


def test_public_host_is_allowed_when_it_is_listened_on(tmp_path: Path) -> None:
    for host in ("203.0.113.9", "2001:db8::9", "dev.example.org"):
        local = made(tmp_path, host)
        assert host in names(local)
        handshake(local, local.authority, host)


def test_stolen_authority_cannot_pass_for_a_site(tmp_path: Path) -> None:
    local = made(tmp_path)
    pem = (tmp_path / "ca-key.pem").read_bytes()
    stolen = module._Issued(
        x509.load_pem_x509_certificate(pem),
        module.load_pem_private_key(pem, None),  # type: ignore[arg-type]
    )
    today = datetime.fromtimestamp(NOW, UTC)
    forged = module._issue_leaf([x509.DNSName("bank.example.com")], stolen, today)
    path = tmp_path / "forged.pem"
    path.write_bytes(forged.pem)

    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(
            LocalCertificate(module.CertificateFiles(path), local.authority, ""),
            local.authority,
            "bank.example.com",
        )


def test_second_start_changes_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = contents(tmp_path)
    made(tmp_path, now=NOW + 100 * DAY)

    assert contents(tmp_path) == before


def test_other_host_has_a_leaf_of_its_own_under_the_same_authority(tmp_path: Path) -> None:
    first = made(tmp_path)
    before = contents(tmp_path)
    second = made(tmp_path, "10.1.2.3")

    assert first.files != second.files
    assert before.items() <= contents(tmp_path).items()


@pytest.mark.parametrize(("days", "is_kept"), [(LEAF_DAYS - 32, True), (LEAF_DAYS - 30, False)])
def test_leaf_is_made_again_before_it_ends(tmp_path: Path, days: int, is_kept: bool) -> None:
    local = made(tmp_path)
    before = local.files.certificate.read_bytes()
    authority = local.authority.read_bytes()
    made(tmp_path, now=NOW + days * DAY)

    assert (local.files.certificate.read_bytes() == before) is is_kept
    assert local.authority.read_bytes() == authority


def test_authority_is_made_again_before_it_ends(tmp_path: Path) -> None:
    local = made(tmp_path)
    before = local.authority.read_bytes()
    local = made(tmp_path, now=NOW + (AUTHORITY_DAYS - 30) * DAY)

    assert local.authority.read_bytes() != before
    handshake(local, local.authority, "localhost")


@pytest.mark.parametrize("name", ["ca-key.pem", "ca.pem", "leaf"])
@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_broken_file_is_made_again(tmp_path: Path, name: str, data: bytes) -> None:
    local = made(tmp_path)
    path = local.files.certificate if name == "leaf" else tmp_path / name
    path.write_bytes(data)
    local = made(tmp_path)

    handshake(local, local.authority, "localhost")
    assert path.read_bytes() != data


def test_no_other_user_can_read_the_keys(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "albgate"
    made(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert path.name == "lock" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_open_directory_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    made(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_directory_that_cannot_be_used_is_replaced_for_the_time_being(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with local_certificate("127.0.0.1", blocked / "albgate", now=NOW) as local:
        handshake(local, local.authority, "localhost")
        hint = local.hint

    assert hint.startswith(f"{blocked}/albgate cannot be used (Not a directory): trust is lost")
    assert not local.authority.parent.exists()


def test_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"), local_certificate("::1", tmp_path, now=NOW):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_directory_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.geteuid()
    answers = iter([own + 1])
    monkeypatch.setattr(os, "geteuid", lambda: next(answers, own))
    with local_certificate("127.0.0.1", tmp_path, now=NOW) as local:
        assert local.authority.parent != tmp_path

    assert "belongs to another user" in local.hint
    assert list(tmp_path.iterdir()) == []


def test_hint_says_how_to_trust_it(tmp_path: Path) -> None:
    local = made(tmp_path)

    assert f"once {local.authority} is imported" in local.hint
    assert "imported as an authority" in local.hint


@pytest.mark.parametrize(
    ("host", "machine", "more"),
    [
        ("127.0.0.1", "Box", ["box"]),
        ("0.0.0.0", "box", ["box"]),
        ("::", "box", ["box"]),
        ("Shop.test", "box", ["box", "shop.test"]),
        ("192.0.2.4", "box", ["box", "192.0.2.4"]),
        ("fe80::1%eth0", "box", ["box", "fe80::1"]),
        ("127.0.0.1", "no_name", []),
        ("127.0.0.1", "böx", []),
        ("a..b", "", []),
    ],
)
def test_names_are_those_that_clients_may_use(host: str, machine: str, more: list[str]) -> None:
    found = {str(item.value) for item in identities(host, machine)}

    assert found == {"localhost", "127.0.0.1", "::1", *more}
    assert ip_address("127.0.0.1") in [item.value for item in identities(host, machine)]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_STATE_HOME": "/var/state"}, Path("/var/state/albgate")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/albgate"),
        ({}, Path.home() / ".local/state/albgate"),
    ],
)
def test_state_directory_is_where_it_belongs(environment: dict[str, str], expected: Path) -> None:
    assert state_directory(environment) == expected


def test_user_without_a_home_gets_a_directory_for_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)

    with local_certificate("127.0.0.1", state_directory({}), now=NOW) as local:
        assert local.authority.exists()
        assert "trust is lost when the gateway ends" in local.hint
    assert not local.authority.exists()

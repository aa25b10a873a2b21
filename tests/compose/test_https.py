"""An HTTPS listener's certificates from its settings, and the watch over their files."""

import ssl
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.compose.https import WATCH_SECONDS, certificates, curl_option, watch
from gateway.config.https import Https
from gateway.core.errors import InvalidSetting
from gateway.telemetry.system import SystemClock
from gateway.wire.tls import Certificates
from tests.wire.authority import AUTHORITY, client_context, issue, shake_hands

CLOCK = SystemClock()


class Timers:
    """An event loop as far as a watch needs it."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, call: Callable[..., object], *given: Any) -> None:
        self.later.append((seconds, lambda: call(*given)))

    def turn(self) -> float:
        """Let the one timer run and return what it waited for."""
        ((seconds, call),) = self.later
        self.later = []
        call()
        return seconds


def shown_by(found: Certificates, trusting: ssl.SSLContext | None = None) -> bytes | None:
    """Return the certificate that a client sees."""
    client, _ = shake_hands(found.context, trusting, "localhost" if trusting else None)
    return client.getpeercert(binary_form=True)


def test_files_are_read(tmp_path: Path) -> None:
    files = issue(tmp_path / "site.pem", "shop.example.org")
    asked = Https(((files.certificate, files.certificate),))

    with certificates(asked, "127.0.0.1", CLOCK) as (found, said):
        assert shown_by(found)
        assert said == ""


def test_a_certificate_is_made_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    with certificates(Https(), "127.0.0.1", CLOCK) as (_, said):
        assert f"{tmp_path / 'albgate' / 'ca.pem'}" in said
        assert curl_option(Https()) == f"--cacert {tmp_path / 'albgate' / 'ca.pem'} "


def test_mutual_tls_reads_the_trust_store(tmp_path: Path) -> None:
    files = issue(tmp_path / "site.pem", "localhost")
    store = tmp_path / "clients.pem"
    AUTHORITY.cert_pem.write_to_path(str(store))
    asked = Https(((files.certificate, files.certificate),), trust_store=store)

    with certificates(asked, "127.0.0.1", CLOCK) as (found, _):
        assert found.context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Https(ssl_policy="ELBSecurityPolicy-2099-01"), "unknown security policy"),
        (Https(((Path("gone.pem"), Path("gone.pem")),)), "gone.pem"),
    ],
)
def test_what_cannot_be_used_is_refused(asked: Https, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said), certificates(asked, "127.0.0.1", CLOCK):
        pass


def test_files_that_change_are_read_again_and_broken_ones_are_told_once(tmp_path: Path) -> None:
    path, said, loop = tmp_path / "site.pem", list[str](), Timers()
    issue(path, "localhost")
    with certificates(Https(((path, path),)), "127.0.0.1", CLOCK) as (found, _):
        watch(cast("AbstractEventLoop", loop), found, said.append)
        first = shown_by(found)
        assert loop.turn() == WATCH_SECONDS
        assert shown_by(found) == first

        issue(path, "localhost", "another.example.org")
        loop.turn()
        second = shown_by(found)
        path.write_text("no certificate")
        loop.turn()
        loop.turn()

    assert second != first
    assert shown_by(found) == second
    assert len(said) == 1
    assert "the certificate before it stays in use" in said[0]


def test_curl_is_told_nothing_of_plain_http_and_of_certificates_that_others_made() -> None:
    assert curl_option(None) == curl_option(Https(((Path("a"), Path("a")),))) == ""


@pytest.mark.parametrize(("http2", "spoken"), [(True, "h2"), (False, "http/1.1")])
def test_http_2_is_offered_unless_the_attribute_says_otherwise(
    tmp_path: Path, http2: bool, spoken: str
) -> None:
    path = issue(tmp_path / "site.pem", "localhost").certificate
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])

    with certificates(Https(((path, path),)), "127.0.0.1", CLOCK, http2=http2) as (found, _):
        client, _ = shake_hands(found.context, context)

    assert client.selected_alpn_protocol() == spoken


def test_workers_find_the_certificate_of_a_directory_for_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    asked = certificates(Https(), "127.0.0.1", CLOCK), certificates(Https(), "127.0.0.1", CLOCK)
    with asked[0] as (parents, _), asked[1] as (workers, _):
        client = ssl.create_default_context(cafile=curl_option(Https()).split()[1])
        seen = [shown_by(each, client) for each in (parents, workers)]

    assert seen[0] == seen[1]


def test_what_could_not_be_read_is_tried_again_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said, loop = tmp_path / "site.pem", list[str](), Timers()
    issue(path, "localhost")
    with certificates(Https(((path, path),)), "127.0.0.1", CLOCK) as (found, _):
        watch(cast("AbstractEventLoop", loop), found, said.append)
        first = shown_by(found)
        issue(path, "localhost", "another.example.org")
        with monkeypatch.context() as patched:
            patched.setattr("gateway.wire.tls.read_key_pair", no_descriptor)
            loop.turn()
            loop.turn()
        assert shown_by(found) == first
        loop.turn()

    assert shown_by(found) != first
    assert len(said) == 1


def no_descriptor(_files: object) -> None:
    raise InvalidSetting("site.pem: Too many open files")


def test_defect_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, loop = tmp_path / "site.pem", Timers()
    issue(path, "localhost")
    with certificates(Https(((path, path),)), "127.0.0.1", CLOCK) as (found, _):
        monkeypatch.setattr(found, "changed", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch(cast("AbstractEventLoop", loop), found, [].append)

    assert len(loop.later) == 1

"""The session cache that Python cannot switch off, and where it is left alone."""

import _ssl
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.wire import tls_sessions
from gateway.wire.tls_sessions import keeps_no_sessions
from tests.wire.authority import client_context, issue, shake_hands


@pytest.fixture(autouse=True)
def _looked_up_afresh() -> Iterator[None]:
    tls_sessions._libssl.cache_clear()
    yield
    tls_sessions._libssl.cache_clear()


def resumed(context: ssl.SSLContext) -> bool:
    """Say whether a client can resume its session, by number alone."""
    context.options |= ssl.OP_NO_TICKET
    client = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    first, _ = shake_hands(context, client)
    again, _ = shake_hands(context, client, session=first.session)
    return bool(again.session_reused)


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issue(folder / "1.pem", "a.test").certificate)
    return context


def test_context_without_sessions_resumes_none(tmp_path: Path) -> None:
    context = server_context(tmp_path)
    assert resumed(context)
    if not keeps_no_sessions(context):
        pytest.skip("this interpreter's libssl cannot be reached")
    assert not resumed(context)


def test_unknown_interpreter_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    assert not keeps_no_sessions(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.mark.parametrize("file", [None, "/nowhere", sys.modules["_ctypes"].__file__])
def test_libssl_that_cannot_be_found_is_left_alone(
    file: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ssl, "__file__", file)
    if file is None:
        monkeypatch.delattr(_ssl, "__file__")
    assert not keeps_no_sessions(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_library_that_does_not_see_what_python_sets_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    address = tls_sessions._pointer(other)
    monkeypatch.setattr(tls_sessions, "_pointer", lambda _context: address)
    assert not keeps_no_sessions(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

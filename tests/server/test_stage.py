"""What one process serves: its URLs, its share of descriptors, its certificates."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Execution, Function
from gateway.config.https import Https
from gateway.config.remote import Emulators, Endpoint, Remote
from gateway.core.notices import OperatorWarning
from gateway.server.stage import Stage, descriptor_use, secured, urls
from gateway.server.systemd import notifier
from gateway.telemetry.system import CLOCK
from gateway.testing import FakeSink
from gateway.wire.local_certificate import local_certificate

ONE = document(Function("app.handler", name="shop"), port=0)
TWO = replace(ONE, listeners=ONE.listeners * 2)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, ...]]:
    with ExitStack() as stack:
        address = ("127.0.0.1", 0)
        yield tuple(stack.enter_context(socket.create_server(address)) for _ in range(2))


def stage(
    described: Document, sockets: tuple[socket.socket, ...], sink: FakeSink | None = None
) -> Stage:
    return Stage(described, sink, sockets, notifier({}, lambda: 0.0), lambda _: None)


def test_status_names_every_listener(sockets: tuple[socket.socket, ...]) -> None:
    ports = [listening.getsockname()[1] for listening in sockets]
    first, second = (f"http://127.0.0.1:{port}" for port in ports)

    assert urls(TWO, sockets) == [first, second]
    assert stage(TWO, sockets).status() == f"listening on {first} {second}"


def test_operator_is_told_through_the_sink_or_on_stderr(
    sockets: tuple[socket.socket, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sink = FakeSink()
    stage(TWO, sockets, sink).say("hello")
    stage(TWO, sockets).say("hello")

    assert sink.notices == [OperatorWarning("hello")]
    assert capsys.readouterr().err == "gateway: hello\n"


def test_listeners_divide_the_descriptors(sockets: tuple[socket.socket, ...]) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = before[1]
    many = replace(TWO.functions[0], execution=Execution(concurrency=(allowed - 1096) // 12))
    try:
        fitted = stage(replace(TWO, functions=(many,)), sockets).fitted()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    found = [listener.limits.connections for listener in fitted.document.listeners]
    assert found[0] == found[1]
    assert 500 <= found[0] <= 506  # a half of 1,000, and what is left of the division by 12
    assert fitted.room.startswith(f"connections: {found[0]}, ")


def test_uvicorn_keeps_its_own_limits(sockets: tuple[socket.socket, ...]) -> None:
    described = replace(ONE, process=replace(ONE.process, server="uvicorn"))
    one = stage(described, sockets[:1])

    assert one.fitted() is one


@pytest.mark.parametrize(
    ("execution", "words"),
    [
        (Execution(concurrency=7), "7 execution environments x 12"),
        (Execution(is_in_process=True, threads=3), "3 threads x 4"),
        (
            Execution(remote=Remote(Emulators((Endpoint("http", "h", 1),))), concurrency=5),
            "5 invocations elsewhere x 2",
        ),
    ],
)
def test_descriptors_of_a_function_depend_on_where_it_runs(
    execution: Execution, words: str
) -> None:
    assert str(descriptor_use(execution)) == words


def test_certificates_are_read_for_https_listeners_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plain = ONE.listeners[0]
    both = replace(ONE, listeners=(plain, replace(plain, https=Https())))
    with secured(both) as (nothing, read):
        assert nothing is None
        assert read
        assert read.renew() == []


def test_files_are_read_early_and_certificates_are_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    [plain] = ONE.listeners
    with local_certificate("localhost", tmp_path / "given", now=CLOCK.now()) as made:
        files = (made.files.certificate, made.files.certificate)
        listeners = [replace(plain, https=Https(given)) for given in ((files,), ())]
        described = replace(ONE, listeners=(*listeners, plain))
        with secured(described, is_early=True) as early, secured(described, early) as read:
            given, later, nothing = early

    assert given
    assert read[0] is given
    assert (later, nothing) == (None, None)
    assert read[1]
    assert read[2] is None

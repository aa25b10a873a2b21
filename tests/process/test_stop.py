"""SIGTERM and Ctrl-C end the whole gateway within a few seconds, whatever its clients do."""

import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from time import perf_counter

import hpack
import pytest

from tests.e2e.leftovers import adopting, children, wait_until
from tests.e2e.serving import DEADLINE_SECONDS, Gate, Server, connect, serving, wait_until_refused
from tests.process.whole import WAYS, WORKERS
from tests.soaking import IS_SOAK, in_soak, soak_only
from tests.web.h2_peer import frame

pytestmark = pytest.mark.slow

STOP_SECONDS = 6.0 if IS_SOAK else 9.0
"""One for the last requests, two for a client that lingers, and the end of the
environments; `docker stop` kills after 10. It was 27 s and more."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
GOAWAY = 7

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, *in_soak(signal.SIGINT)])
WORKERS_AND_SIGNALS = pytest.mark.parametrize(
    ("workers", "number"),
    [
        (WORKERS[0], signal.SIGTERM),
        pytest.param(WORKERS[1], signal.SIGINT, marks=soak_only),
    ],
)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def plain(server: Server) -> socket.socket:
    """Return a TCP connection to a server."""
    return socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS)


def secure(server: Server, *protocols: str) -> ssl.SSLSocket:
    """Return a TLS connection to a server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([*protocols])
    return context.wrap_socket(plain(server))


def ask(client: socket.socket) -> bytes:
    """Ask for something on a connection that is kept; returns head and body."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        data = client.recv(65536)
        assert data, received
        received += data
    return received


def rest(client: socket.socket) -> bytes:
    """Return what comes until the connection ends, also by a reset."""
    received = b""
    with suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
    return received


@contextmanager
def stopped(server: Server, number: int) -> Iterator[Callable[[], float]]:
    """Send a signal; yields a way to wait for the end, which returns how many seconds it took."""
    started = perf_counter()
    server.signal(number)

    def wait() -> float:
        assert server.wait() == 0
        return perf_counter() - started

    yield wait


@pytest.mark.parametrize(
    ("way", "workers", "number"),
    [
        (WAYS[0], WORKERS[0], signal.SIGTERM),
        (WAYS[1], WORKERS[1], signal.SIGINT),
        pytest.param(WAYS[1], WORKERS[0], signal.SIGINT, marks=soak_only),
        pytest.param(WAYS[0], WORKERS[1], signal.SIGINT, marks=soak_only),
        pytest.param(WAYS[1], WORKERS[1], signal.SIGTERM, marks=soak_only),
    ],
)
def test_stop_is_quick_beside_clients_that_do_nothing(
    way: tuple[str, ...], workers: tuple[str, ...], number: int
) -> None:
    with (
        adopting() as left,
        serving("echo.handler", *way, *workers, "--quiet") as server,
        ExitStack() as stack,
    ):
        idle, silent, half = (stack.enter_context(plain(server)) for _ in range(3))
        assert b"keep-alive" in ask(idle)
        half.sendall(b"GET / HTTP/1.1\r\nHo")
        with stopped(server, number) as wait:
            seconds = wait()
        assert rest(half).startswith(b"HTTP/1.1 503 ")
        assert (rest(idle), rest(silent), left()) == (b"", b"", [])

    assert seconds < STOP_SECONDS


@SIGNALS
def test_stop_is_quick_beside_tls_clients_that_do_nothing(number: int) -> None:
    with serving("echo.handler", "--in-process", "--https", "--quiet") as server, ExitStack() as on:
        idle = on.enter_context(secure(server, "http/1.1"))
        assert b"keep-alive" in ask(idle)
        second = on.enter_context(secure(server, "h2"))
        second.sendall(PREFACE)
        silent, begun = (on.enter_context(plain(server)) for _ in range(2))
        begun.sendall(b"\x16\x03\x01")  # the beginning of a handshake
        with stopped(server, number) as wait:
            seconds = wait()
        frames = frame_types(rest(second))

        assert frames[-1] == GOAWAY
        assert (rest(idle), rest(silent), rest(begun)) == (b"", b"", b"")
    assert seconds < STOP_SECONDS


def test_stop_is_quick_behind_the_last_request_of_a_client_that_stays(gate: Gate) -> None:
    options = ("--in-process", "--https", "--timeout", "60", "--quiet")
    with serving("echo.handler", *options) as server, secure(server, "h2") as client:
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a")]
        fields += [(":path", "/wait"), ("x-gate", str(gate.path))]
        block = hpack.Encoder().encode(fields)
        client.sendall(PREFACE + frame(1, 5, 1, block))
        gate.wait_entered()
        with stopped(server, signal.SIGTERM) as wait:
            wait_until_refused(server)
            gate.open()
            seconds = wait()
        kinds = frame_types(rest(client))

    assert (kinds.count(GOAWAY), kinds[-1]) == (2, GOAWAY)
    assert seconds < STOP_SECONDS


def frame_types(data: bytes) -> list[int]:
    """Return the types of the HTTP/2 frames in what a server has sent."""
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        found.append(data[3])
        data = data[9 + length :]
    return found


@WORKERS_AND_SIGNALS
def test_idle_client_that_asks_in_the_last_second_is_answered(
    workers: tuple[str, ...], number: int
) -> None:
    options = ("--in-process", *workers, "--quiet")
    with serving("echo.handler", *options) as server, plain(server) as idle:
        ask(idle)
        with stopped(server, number) as wait:
            wait_until_refused(server)
            answer = ask(idle)
            rest(idle)
            idle.close()
            seconds = wait()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in answer
    assert seconds < STOP_SECONDS


@WORKERS_AND_SIGNALS
def test_request_that_runs_is_finished_when_idle_connections_are_closed(
    gate: Gate, workers: tuple[str, ...], number: int
) -> None:
    options = (*workers, "--timeout", "60", "--quiet")
    with (
        serving("echo.handler", *options) as server,
        plain(server) as idle,
        closing(connect(server)) as running,
    ):
        ask(idle)
        running.request("GET", "/wait", headers={"X-Gate": str(gate.path)})
        gate.wait_entered()
        with stopped(server, number) as wait:
            assert rest(idle) == b""
            gate.open()
            response = running.getresponse()
            running.close()
            wait()

    assert (response.status, response.headers["Connection"]) == (200, "close")


@pytest.mark.skipif(sys.platform != "linux", reason="environments are forked on Linux")
def test_fork_server_that_hangs_does_not_keep_the_gateway_from_ending() -> None:
    options = ("--min-environments", "2", "--quiet")
    with adopting() as left, serving("echo.handler", *options) as server:
        [fork_server] = children(server.pid)
        environments = children(fork_server)
        os.kill(fork_server, signal.SIGSTOP)
        os.kill(environments.pop(), signal.SIGKILL)
        with stopped(server, signal.SIGTERM) as wait:
            wait()
        assert left() == []


def test_worker_that_was_replaced_keeps_idle_connections_until_the_whole_gateway_stops() -> None:
    options = ("--in-process", "--workers", "2", "--quiet")
    with adopting() as left, serving("echo.handler", *options) as server, plain(server) as idle:
        ask(idle)
        before = children(server.pid)
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        wait_until(lambda: len(children(server.pid)) == 3, server.output.text)
        assert before & children(server.pid)
        with stopped(server, signal.SIGTERM) as wait:
            seconds = wait()

        assert left() == []
    assert seconds < STOP_SECONDS


def test_worker_that_drains_for_its_successor_ends_with_ctrl_c_in_the_same_way() -> None:
    options = ("--in-process", "--workers", "2", "--quiet")
    with serving("echo.handler", *options) as server, plain(server) as idle:
        ask(idle)
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        wait_until(lambda: len(children(server.pid)) == 3, server.output.text)
        with stopped(server, signal.SIGINT) as wait:
            wait_until_refused(server)
            answer = ask(idle)  # the first Ctrl-C does not abort the one that drains already
            seconds = wait()

    assert b"Connection: close" in answer
    assert seconds < STOP_SECONDS

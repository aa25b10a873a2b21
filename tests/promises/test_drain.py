"""P7: a stop is clean: what is in flight is finished, and nothing is left behind.

In a soak 100 requests are at a gate when SIGTERM comes, and are let go on one by one over 20
seconds. Beside them are connections that are idle and stay so, idle ones that ask again at once,
and busy ones.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import pytest

from tests.e2e.serving import Gate, Server, wait_until_refused
from tests.promises.conftest import Report, Serve
from tests.promises.wire import Response, Wire, get
from tests.soaking import IS_SOAK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc/net/tcp"),
]

IN_FLIGHT, IDLE, RETURNING, BUSY = (100, 50, 20, 20) if IS_SOAK else (20, 10, 5, 5)
FIRST_SECONDS, LAST_SECONDS = 0.1, 20.0 if IS_SOAK else 2.0
IDLE_SECONDS = 10
DRAIN_SECONDS = 30
NO_INODE = "0"
"""The inode of a socket that no process holds, see proc(5)."""


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def waiting(gate: Gate) -> bytes:
    return get(b"X-Gate: " + str(gate.path).encode(), target=b"/wait")


def last_words(wire: Wire) -> tuple[Response, bytes]:
    """Return a response and what comes behind it until the end of the connection."""
    return wire.response(), wire.rest()


def busy_until_closed(wire: Wire) -> list[Response]:
    """Ask again and again until told that the connection ends."""
    responses = [wire.ask(get())]
    while not responses[-1].closes:
        responses.append(wire.ask(get()))
    assert wire.rest() == b""
    return responses


class World:
    """The clients of one server that is going to stop."""

    def __init__(self, server: Server, gate: Gate, stack: ExitStack) -> None:
        def connected(count: int) -> list[Wire]:
            return [stack.enter_context(Wire(server)) for _ in range(count)]

        self.pool = stack.enter_context(ThreadPoolExecutor(IN_FLIGHT + BUSY + IDLE))
        self.idle, self.returning = connected(IDLE), connected(RETURNING)
        self.busy = connected(BUSY)
        for wire in self.idle + self.returning:
            assert not wire.ask(get()).closes
        self.asking = [self.pool.submit(busy_until_closed, wire) for wire in self.busy]
        self.in_flight = connected(IN_FLIGHT)
        for wire in self.in_flight:
            wire.send(waiting(gate))
        gate.wait_entered(IN_FLIGHT)
        self.answers = [self.pool.submit(last_words, wire) for wire in self.in_flight]
        self.ends = [self.pool.submit(wire.rest) for wire in self.idle]

    def release(self, gate: Gate) -> list[Response]:
        """Let one request after the other go on; idle clients ask again in the last second in
        which they can."""
        started = perf_counter()
        step = (LAST_SECONDS - FIRST_SECONDS) / (IN_FLIGHT - 1)
        asked_again = [wire.ask(get()) for wire in self.returning]
        for number in range(IN_FLIGHT):
            due = started + FIRST_SECONDS + number * step
            wait(self.answers, timeout=max(0.0, due - perf_counter()))
            gate.open()
        return asked_again


def test_stop_finishes_what_is_in_flight(
    serve: Serve, gate: Gate, tmp_path: Path, report: Report
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    idle = f"idle_timeout.timeout_seconds={IDLE_SECONDS}"
    options = ("--concurrency", "128", "--timeout", "60", "--attribute", idle, "--quiet")
    server = serve("echo.handler", *options, env={"TMPDIR": str(temporary)})

    with ExitStack() as stack:
        world = World(server, gate, stack)
        stopped = perf_counter()
        server.signal(signal.SIGTERM)
        wait_until_refused(server)
        asked_again = world.release(gate)
        answers = [future.result() for future in world.answers]
        ends = [future.result() for future in world.ends]
        exchanges = [future.result() for future in world.asking]
        status = server.wait()
        seconds = perf_counter() - stopped

    passed = f"passed in {server.pid}".encode()
    assert [(each.status, each.body, each.closes, rest) for each, rest in answers] == [
        (200, passed, True, b"")
    ] * IN_FLIGHT
    assert [(each.status, each.closes) for each in asked_again] == [(200, True)] * RETURNING
    assert {each.status for responses in exchanges for each in responses} == {200}
    assert ends == [b""] * IDLE
    assert (status, server.errors.wait_for_end()) == (0, [])
    assert seconds < DRAIN_SECONDS
    assert left_behind(server, temporary) == []
    report(
        f"P7 stop: {IN_FLIGHT} in flight of {FIRST_SECONDS} to {LAST_SECONDS:g} s, {IDLE} idle, "
        f"{RETURNING} idle that asked again, {BUSY} busy with {sum(map(len, exchanges))} requests: "
        f"0 failures, status 0 after {seconds:.1f} s, nothing left"
    )


def left_behind(server: Server, temporary: Path) -> list[str]:
    """Return what is still there of a server that has ended."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = f"0100007F:{server.port:04X}"
    left = [f"socket {row[1:4]}" for row in rows if row[1] == own and row[9] != NO_INODE]
    left += [f"file {path}" for path in temporary.iterdir()]
    try:
        os.killpg(server.pid, 0)
    except ProcessLookupError:
        return left
    return [*left, f"process of group {server.pid}"]


def test_what_is_not_finished_within_the_limit_is_cut_off(
    serve: Serve, gate: Gate, report: Report
) -> None:
    server = serve("echo.handler", "--timeout", "60", "--limit", "drain_seconds=1", "--quiet")

    with Wire(server) as stuck, Wire(server) as idle, ThreadPoolExecutor(2) as pool:
        assert not idle.ask(get()).closes
        stuck.send(waiting(gate))
        gate.wait_entered()
        stopped = perf_counter()
        server.signal(signal.SIGTERM)
        ends = [pool.submit(end_of, each) for each in (stuck, idle)]
        status = server.wait()
        seconds = perf_counter() - stopped

    assert [each.result() for each in ends] == [b"", b""]
    assert (status, server.errors.wait_for_end()) == (0, [])
    assert 1 <= seconds < DRAIN_SECONDS / 3  # 25 s are the default
    report(f"P7 drain_seconds=1: what was left was cut, status 0 after {seconds:.1f} s")


def end_of(wire: Wire) -> bytes:
    """Return what comes before the end of a connection, however it ends."""
    try:
        return wire.rest()
    except ConnectionResetError:
        return wire.pending()

"""Several processes behind one port: one that dies costs its own connections and leaves nothing."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.leftovers import adopting, children, control_groups, descendants, wait_until
from tests.e2e.serving import (
    Gate,
    Process,
    get,
    serving,
    wait_until_refused,
)
from tests.e2e.workers import (
    CODE,
    TWO,
    WAYS,
    command_at_gate,
    serving_with_errors,
    waiting,
    worker_of,
)
from tests.soaking import in_soak

pytestmark = pytest.mark.slow


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(CODE)
    return tmp_path


# --- the end of a worker ---


def test_worker_that_dies_costs_only_its_own_connections(gate: Gate) -> None:
    with serving("echo.handler", *TWO, "--timeout", "60") as server:
        with waiting(server, gate) as answer:
            victim = worker_of(server, gate)
            os.kill(victim, signal.SIGKILL)
            server.output.wait_for(
                rf"^worker [12] \(process {victim}\) was ended by SIGKILL; another one starts now$"
            )
            with pytest.raises(ConnectionError):
                answer()
        statuses = Counter(get(server, "/")[0] for _ in range(20))
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)

        assert statuses == {200: 20}
        assert victim not in children(server.pid)


def test_worker_that_dies_again_and_again_is_started_later_each_time(code: Path) -> None:
    with serving("app.handler", *TWO, "--in-process", "--quiet", code=code) as server:
        victim, other = children(server.pid)
        for pause in ("now", "in 1 s, after 2 quick exits in a row"):
            os.kill(victim, signal.SIGKILL)
            assert server.output.wait_for(rf"process {victim}\) .* another one starts {pause}$")
            assert get(server, "/")[0] == 200
            wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
            [victim] = children(server.pid) - {other}


# --- the end of the parent ---


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *in_soak(signal.SIGINT)], ids=lambda number: number.name
)
def test_stop_lets_requests_finish_and_leaves_nothing(gate: Gate, number: int) -> None:
    with adopting() as left:
        with serving("echo.handler", *TWO, "--timeout", "60") as server:
            workers = children(server.pid)
            with waiting(server, gate) as answer:
                server.signal(number)
                wait_until_refused(server)
                gate.open()

                assert answer() == 200
            assert server.wait() == 0
            assert server.errors.wait_for_end() == []
        assert left() == []
    assert [group for pid in workers for group in control_groups(pid)] == []


def test_second_interrupt_ends_at_once(gate: Gate) -> None:
    with serving("echo.handler", *TWO, "--in-process", "--timeout", "60") as server:
        with waiting(server, gate):
            server.signal(signal.SIGINT)
            wait_until_refused(server)
            server.signal(signal.SIGINT)

            assert server.wait() == 0
        assert not gate.has_been_passed()
        assert server.errors.wait_for_end() == []


@WAYS
def test_stop_during_the_start_leaves_nothing(
    tmp_path: Path, gate: Gate, way: tuple[str, ...]
) -> None:
    command = command_at_gate(tmp_path, gate)
    with adopting() as left, Process([*command, *way]) as process:
        gate.wait_entered()
        process.signal(signal.SIGTERM)

        assert process.wait() == 0
        assert process.output.wait_for_end() == []
        assert process.errors.wait_for_end() == []
        assert left() == []


def test_worker_that_is_killed_at_its_start_is_said_to_be(tmp_path: Path, gate: Gate) -> None:
    with Process([*command_at_gate(tmp_path, gate), "--in-process"]) as process:
        gate.wait_entered()
        [worker] = children(process.pid)
        os.kill(worker, signal.SIGKILL)

        assert process.wait() == 2
        assert process.errors.wait_for_end() == [
            "gateway: worker 1 was ended by SIGKILL at its start"
        ]


def test_workers_of_a_dead_parent_finish_and_end(gate: Gate) -> None:
    with adopting() as left:
        with serving_with_errors("echo.handler", *TWO, "--timeout", "60") as server:
            with waiting(server, gate) as answer:
                processes = descendants(server.pid)
                server.signal(signal.SIGKILL)
                server.wait()
                wait_until_refused(server)
                gate.open()

                assert answer() == 200
            lines = server.errors.wait_for_end()
        wait_until(lambda: left() == [], left)
    assert sorted(lines) == [f"gateway: the parent has died, worker {n} stops" for n in (1, 2)]
    assert [group for pid in processes for group in control_groups(pid)] == []


def test_worker_of_a_dead_parent_ends_in_the_middle_of_an_import(
    tmp_path: Path, gate: Gate
) -> None:
    command = command_at_gate(tmp_path, gate)
    with adopting() as left:
        with Process([*command, "--in-process"]) as process:
            gate.wait_entered()
            process.signal(signal.SIGKILL)
            process.wait()
            lines = process.errors.wait_for_end()
        wait_until(lambda: left() == [], left)
    assert lines == ["gateway: the parent has died, worker 1 stops"]


def test_worker_that_is_stuck_is_killed_after_a_second_interrupt(code: Path) -> None:
    with adopting() as left:
        with serving("app.handler", *TWO, "--in-process", code=code) as server:
            stuck = min(children(server.pid))
            os.kill(stuck, signal.SIGSTOP)
            server.signal(signal.SIGINT)
            wait_until(lambda: children(server.pid) == {stuck}, server.output.text)
            server.signal(signal.SIGINT)

            assert server.wait() == 0
        wait_until(lambda: left() == [], left)

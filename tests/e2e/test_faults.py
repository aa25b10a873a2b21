"""Functions and runtimes that fail in every way: what the caller gets, what is left, what is next.

AWS's payloads are in lambda.md 3.5; through a load balancer all of them are its 502 page.
"""

import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from gateway.compose import environments
from gateway.config import process as settings
from gateway.config.function import Function
from gateway.core.invocation import Invocation, request_id
from gateway.telemetry.system import HexDraws, SystemClock
from tests.cli.commands import process_refusal
from tests.e2e.leftovers import (
    adopting,
    control_groups,
    descendants,
    descriptors,
    memory_mb,
    wait_until,
)
from tests.e2e.serving import APPS, Gate, Process, Server, gateway_command, get, serving
from tests.soaking import IS_SOAK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

EXIT = "Runtime.ExitError"
TIMED_OUT = ("Sandbox.Timedout", "Error: Task timed out after 1.00 seconds")
KILLED = (EXIT, "Error: Runtime exited with error: signal: killed")
TOO_LARGE = (
    "Function.ResponseSizeTooLarge",
    "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
)

FAULTS = {
    "/sys-exit": (EXIT, "Error: Runtime exited without providing a reason"),
    "/sys-exit/3": (EXIT, "Error: Runtime exited with error: exit status 3"),
    "/exit": (EXIT, "Error: Runtime exited without providing a reason"),
    "/exit/3": (EXIT, "Error: Runtime exited with error: exit status 3"),
    "/kill/9": KILLED,
    "/raise": ("ValueError", "no such customer"),
    "/large/7": TOO_LARGE,
    "/breed-and-exit/2": (EXIT, "Error: Runtime exited without providing a reason"),
    "/breed-and-wait/2": TIMED_OUT,
    "/wait": TIMED_OUT,
    "/allocate/1000": KILLED,
}
"""What the handler does, and the type and message of the error that the caller of Invoke gets."""

GROUPED = [[*FAULTS][:6], [*FAULTS][6:8], [*FAULTS][8:10], [*FAULTS][10:]]
TOGETHER = [[path] for path in FAULTS] if IS_SOAK else GROUPED
"""Faults that one server sees after each other."""

MISDEEDS = {
    "/leave": (EXIT, "Error: Runtime exited with error: exit status 3"),
    "/large": TOO_LARGE,
    "/half": ("Runtime.TruncatedResponse", "Error: the response was not sent to its end"),
}
"""The same for a runtime that does not keep to the Runtime API."""

OPTIONS = ("--timeout", "1", "--ephemeral-storage", "16", "--quiet")
ONE = ("--concurrency", "1", "--queue-timeout", "5")


@contextmanager
def watched(handler: str, *options: str, code: Path, place: Path) -> Iterator[Server]:
    """Serve a handler; at the end nothing of the server may be left."""
    place.mkdir()
    with adopting() as left:
        with serving(handler, *options, code=code, env={"TMPDIR": str(place)}) as server:
            yield server
        assert not server.is_running
        wait_until(lambda: not left(), left)
    assert control_groups(server.pid) == []
    assert list(place.iterdir()) == []


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Server]:
    with watched("faulty.handler", *OPTIONS, code=APPS, place=tmp_path / "temporary") as server:
        yield server


def answer(server: Server, path: str) -> Any:
    status, body = get(server, path)
    assert status == 200, body
    return json.loads(body)["answer"]


# --- through the load balancer ---


@pytest.mark.parametrize("paths", TOGETHER, ids=" ".join)
def test_fault_is_a_502_and_leaves_nothing(tmp_path: Path, paths: list[str]) -> None:
    # One environment: some processes end after their answer, and a second one would take over.
    options = (*OPTIONS, *ONE)
    with watched("faulty.handler", *options, code=APPS, place=tmp_path / "temporary") as faulty:
        get(faulty, "/nothing")
        before = counts(faulty)

        for path in paths:
            assert get(faulty, path)[0] == 502, path
            assert get(faulty, "/nothing")[0] == 200, path
            wait_until(lambda: counts(faulty) <= before, lambda: (paths, counts(faulty), before))


def counts(server: Server) -> tuple[int, int]:
    """Return the processes and the open files of a server."""
    return len(descendants(server.pid)), descriptors(server.pid)


def test_children_end_with_the_environment(faulty: Server) -> None:
    pids = answer(faulty, "/breed/3")

    assert len(pids) == 3
    assert get(faulty, "/nothing")[0] == 200  # background processes are only frozen on AWS


def test_disk_of_an_environment_has_a_limit(faulty: Server) -> None:
    if "own /var/task" not in isolation_of(faulty):
        assert get(faulty, "/fill/64")[0] == 502
    else:
        assert answer(faulty, "/fill/64") == "No space left on device"
    assert answer(faulty, "/fill/8") is None


def isolation_of(_server: Server) -> str:
    """Return what this machine isolates."""
    function = Function("faulty.handler", APPS)
    keep = environments.runtime_of(function).keep
    return str(environments.find_abilities(keep))


def test_descriptors_of_an_environment_have_a_limit(faulty: Server) -> None:
    assert answer(faulty, "/open") == "Too many open files"
    assert get(faulty, "/nothing")[0] == 200


def test_100_mb_of_output_neither_fill_the_gateway_nor_hold_up_others(faulty: Server) -> None:
    get(faulty, "/nothing")
    before = memory_mb(faulty.pid)
    writer = threading.Thread(target=get, args=(faulty, "/print/100"))
    longest = 0.0

    writer.start()
    while writer.is_alive():
        started = perf_counter()
        assert get(faulty, "/nothing")[0] == 200
        longest = max(longest, perf_counter() - started)
    writer.join()

    assert memory_mb(faulty.pid) - before < 24
    assert longest < 0.5


# --- through Invoke ---


async def payloads(function: Function, paths: list[str]) -> list[tuple[str, str]]:
    """Return type and message of the errors that invocations end with, good ones between them."""
    clock, draws = SystemClock(), HexDraws()
    found = []
    async with environments.running(function, settings.Process(), None, clock, draws) as running:
        for path in paths:
            for each in (path, "/good"):
                event = json.dumps({"path": each}).encode()
                invocation = Invocation(request_id(draws(32)), function.reference(), event)
                result = await running.invoker.invoke(invocation)
                if each == "/good":
                    assert not result.function_error, (path, result.payload)
                    continue
                assert result.function_error == "Unhandled", (path, result.payload)
                error = json.loads(result.payload)
                prefix = f"RequestId: {invocation.request_id} "
                found.append((error["errorType"], error["errorMessage"].removeprefix(prefix)))
    return found


async def test_caller_of_invoke_gets_awss_payload() -> None:
    function = Function("faulty.handler", APPS, timeout_seconds=1)

    assert await payloads(function, list(FAULTS)) == list(FAULTS.values())


async def test_caller_of_invoke_gets_awss_payload_from_a_bad_runtime(misbehaving: Path) -> None:
    function = Function("any.handler", misbehaving, timeout_seconds=1, runtime="provided.al2023")

    assert await payloads(function, list(MISDEEDS)) == list(MISDEEDS.values())


# --- runtimes of their own ---


@dataclass
class Misbehaving:
    """A server whose runtime does not keep to the Runtime API."""

    server: Server
    code: Path

    def set_mode(self, mode: str) -> None:
        (self.code / "mode").write_text(mode)


@pytest.fixture
def misbehaving(tmp_path: Path) -> Path:
    """A code directory with a runtime that behaves until it is told otherwise."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "mode").write_text("good")
    python = os.path.realpath(sys.executable)  # the standard library is enough
    source = (APPS / "misbehaving" / "bootstrap.py").read_text()
    bootstrap = code / "bootstrap"
    bootstrap.write_text(f"#!{python}\n{source}")
    bootstrap.chmod(bootstrap.stat().st_mode | stat.S_IXUSR)
    return code


@pytest.fixture
def bad_runtime(misbehaving: Path, tmp_path: Path) -> Iterator[Misbehaving]:
    options = (*OPTIONS, *ONE, "--runtime", "provided.al2023")
    place = tmp_path / "temporary"
    with watched("any.handler", *options, code=misbehaving, place=place) as server:
        yield Misbehaving(server, misbehaving)


@pytest.mark.parametrize("path", MISDEEDS)
def test_misdeed_of_a_runtime_is_a_502_and_leaves_nothing(
    bad_runtime: Misbehaving, path: str
) -> None:
    assert get(bad_runtime.server, "/good") == (200, b"[]")

    assert get(bad_runtime.server, path)[0] == 502
    assert get(bad_runtime.server, "/good")[0] == 200


@pytest.mark.parametrize("mode", ["exit", "sleep"])
def test_runtime_that_never_polls_is_a_502_until_it_is_fixed(
    bad_runtime: Misbehaving, mode: str
) -> None:
    assert get(bad_runtime.server, "/good")[0] == 200
    bad_runtime.set_mode(mode)
    get(bad_runtime.server, "/leave")  # the next invocation starts it again

    started = perf_counter()
    assert get(bad_runtime.server, "/good")[0] == 502
    assert perf_counter() - started < 3  # the timeout counts inside an invocation
    bad_runtime.set_mode("good")
    assert get(bad_runtime.server, "/good")[0] == 200


@pytest.mark.parametrize(("path", "statuses"), [("/twice", [202, 403]), ("/foreign", [400, 202])])
def test_wrong_answer_is_refused_and_the_caller_gets_the_right_one(
    bad_runtime: Misbehaving, path: str, statuses: list[int]
) -> None:
    assert get(bad_runtime.server, path) == (200, b"good")
    assert json.loads(get(bad_runtime.server, "/good")[1]) == statuses


def test_required_init_that_fails_ends_the_gateway(misbehaving: Path) -> None:
    (misbehaving / "mode").write_text("exit")
    options = ("--port", "0", "--quiet", "--runtime", "provided.al2023", "--require-init")
    said = process_refusal("serve", "any.handler", "--code", str(misbehaving), *options)

    assert said.startswith("Runtime.ExitError")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_during_a_slow_start_leaves_nothing(tmp_path: Path, number: int) -> None:
    gate = Gate()
    (tmp_path / "gate.py").write_text((APPS / "gate.py").read_text())
    (tmp_path / "app.py").write_text(f"import gate\ngate.wait_at({str(gate.path)!r})\n")
    command = gateway_command("serve", "app.handler", "--code", str(tmp_path), "--port", "0")

    with closing(gate), adopting() as left, Process(command) as process:
        gate.wait_entered()
        process.signal(number)

        assert process.wait() == -number
        wait_until(lambda: not left(), left)
        assert control_groups(process.pid) == []

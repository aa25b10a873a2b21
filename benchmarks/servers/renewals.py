"""Reload a function many times, several environments each time, and print what has grown.

    python benchmarks/servers/renewals.py CODE RELOADS ENVIRONMENTS

Each reload starts this many environments, moves to them, invokes one and ends the ones before. The
counts are taken with one generation alive, after a warm-up of as many reloads, 500 at most, and at
the end: what grows with every reload shows, what is bounded does not. The slowest to fill is the
gateway's memory of the 4,096 ports it used last.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.compose.environments import Running, running
from gateway.config.function import Execution, Function
from gateway.config.process import Process
from gateway.core.invocation import Invocation, request_id
from gateway.telemetry.system import HexDraws, SystemClock

SETTLED_SECONDS = 10
MOST_WARM_UP = 500
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def main() -> None:
    """Print the counts as one JSON object."""
    code, reloads, environments = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as directory:
        tempfile.tempdir = directory  # so that only our own directories are counted
        print(json.dumps(asyncio.run(renewed(code, reloads, environments))))


async def renewed(code: Path, reloads: int, environments: int) -> dict[str, object]:
    """Reload and return seconds and counts."""
    execution = Execution(concurrency=environments, min_environments=environments)
    function = Function("app.handler", code, execution=execution)
    draw = HexDraws()
    async with running(function, Process(), None, SystemClock(), draw) as it:
        await reload(it, function, draw, min(reloads, MOST_WARM_UP))
        before = await settled(environments)
        started = time.perf_counter()
        await reload(it, function, draw, reloads)
        seconds = time.perf_counter() - started
        after = await settled(environments)
    return {"seconds": seconds, "before": before, "after": after}


async def reload(it: Running, function: Function, draw: HexDraws, times: int) -> None:
    """Move to new environments this many times and use one of each generation."""
    for _ in range(times):
        failure = await it.replace(function)
        invocation = Invocation(request_id(draw(32)), function.reference(), b"{}")
        result = await it.pool.invoke(invocation)
        if failure or result.function_error:
            raise RuntimeError(failure or str(result.payload))


async def settled(environments: int) -> dict[str, int]:
    """Return the counts once the former generations have ended, or when they should have."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while is_busy(environments) and time.monotonic() < deadline:  # noqa: ASYNC110 - processes
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)  # transports close in the turn after
    return counts()


def is_busy(environments: int) -> bool:
    """Say whether a former generation is still there or being closed."""
    return len(descendants()) > environments + 1 or len(asyncio.all_tasks()) > 1


def counts() -> dict[str, int]:
    """Count what must not grow."""
    family = [os.getpid(), *descendants()]
    return {
        "memory_kb": private_kb(family[:2]),
        "descriptors": sum(entries(f"/proc/{pid}/fd") for pid in family[:2]),
        "processes": len(family),
        "directories": entries(tempfile.gettempdir()) + control_groups(),
        "tasks": len(asyncio.all_tasks()),
    }


def entries(directory: str) -> int:
    """Return how much is in a directory."""
    return len(list(Path(directory).iterdir()))


def private_kb(pids: list[int]) -> int:
    """Return the memory that gateway and fork server have for themselves."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    wanted = ("Private_Clean:", "Private_Dirty:")
    lines = [line.split() for text in texts for line in text.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] in wanted)


def control_groups() -> int:
    """Return how many control groups this process has made and not removed."""
    prefix = f"gateway-{os.getpid()}-"
    names = (name for _, directories, _ in os.walk(CONTROL_GROUPS) for name in directories)
    return sum(name.startswith(prefix) for name in names)


def descendants() -> list[int]:
    """Return the processes below this one, the fork server first."""
    return list(below(os.getpid()))


def below(pid: int) -> Iterator[int]:
    """Yield the processes below one."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from below(child)


if __name__ == "__main__":
    main()

"""A fork server that has no descriptor left says so, and goes on when there are some again."""

import resource
import sys
from pathlib import Path

import pytest

from gateway.runtime.launch import LaunchFailed
from tests.runtime.forking import forking, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="children of macOS are executed"),
]

NEEDED = 4
"""Two outlets that come with a request, and a pipe for the report."""


def numbers(pid: int) -> list[int]:
    return sorted(int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("free", range(NEEDED))
async def test_start_fails_alone_where_the_server_has_too_few(tmp_path: Path, free: int) -> None:
    async with forking(tmp_path) as forks:
        await forks.run("")
        pid = forks.server.pid or 0
        before, limits = numbers(pid), resource.prlimit(pid, resource.RLIMIT_NOFILE)
        unused = [number for number in range(64) if number not in before]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (unused[free], limits[1]))
        try:
            with pytest.raises(LaunchFailed, match=r"(?i)too many open files"):
                await forks.run("print('started')")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

        await until(lambda: len(numbers(pid)) <= len(before))
        assert await forks.run("print('again')") == (0, "again\n")
        assert forks.server.pid == pid

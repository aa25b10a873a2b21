"""A process under `valgrind --tool=callgrind`, asked in between how many instructions it has run.

The counters are read, and begin at 0 again, while the process goes on (vgdb's `dump`): what comes
before, such as imports, and what comes after cost nothing in the figure. Only the process itself
is counted, in user space, with all its threads: neither its children nor the kernel.
"""

import os
import platform
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START_SECONDS = 300
STOP_SECONDS = 60
TOTALS = "totals: "
PAUSE_SECONDS = 0.0005
EPOLL_WAITS = {"22"} if platform.machine() == "aarch64" else {"232", "281"}
"""Numbers of epoll_wait and epoll_pwait, as proc(5) shows the system call that a thread is in."""


class Counted:
    """A process whose instructions are counted."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self._process, self._directory, self._dumps = process, directory, 0

    def tell(self, line: str) -> None:
        """Write a line to the process's input."""
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, text: str) -> None:
        """Read the process's output until this text has come."""
        wait_for(self._process, text)

    def count(self) -> int:
        """Return the instructions since the last call, or since the start."""
        self._dumps += 1
        self._ask("dump")
        return total(self._directory / f"counted.{self._process.pid}.{self._dumps}")

    def begin(self) -> None:
        """Count from now on, where counting does not begin with the process."""
        self._ask("instrumentation", "on")

    def _ask(self, *request: str) -> None:
        place = [f"--vgdb-prefix={self._directory}/vgdb", f"--pid={self._process.pid}"]
        vgdb = ["vgdb", *place, "--max-invoke-ms=1"]  # not 100 ms: the process waits for input
        subprocess.run([*vgdb, *request], capture_output=True, check=True, timeout=STOP_SECONDS)

    def wait_until_idle(self) -> None:
        """Wait until the main thread waits in epoll."""
        syscall = Path(f"/proc/{self._process.pid}/syscall")
        deadline = time.monotonic() + STOP_SECONDS
        while syscall.read_text(encoding="utf-8").split()[0] not in EPOLL_WAITS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"process {self._process.pid} does not wait in epoll")
            time.sleep(PAUSE_SECONDS)


def total(path: Path) -> int:
    """Return the sum of a dump of callgrind."""
    with path.open(encoding="utf-8") as lines:
        return next(int(line.removeprefix(TOTALS)) for line in lines if line.startswith(TOTALS))


def is_installed() -> bool:
    """Say whether valgrind and the command that asks it are there."""
    return shutil.which("valgrind") is not None and shutil.which("vgdb") is not None


@contextmanager
def counted(
    arguments: Sequence[str], checkout: Path, directory: Path, *, from_start: bool = True
) -> Iterator[Counted]:
    """Run the Python interpreter under callgrind until this context ends; dumps go to the
    directory. What is not counted runs five times faster."""
    valgrind = ["valgrind", "-q", "--tool=callgrind", f"--vgdb-prefix={directory}/vgdb"]
    output = f"--callgrind-out-file={directory}/counted.%p"
    when = f"--instr-atstart={'yes' if from_start else 'no'}"
    with started([*valgrind, output, when, sys.executable, *arguments], checkout) as process:
        yield Counted(process, directory)


@contextmanager
def started(command: Sequence[str], checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on the gateway of a checkout until this context ends."""
    process = subprocess.Popen(
        command,
        cwd=checkout,
        env=variables(checkout),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        end(process)


def variables(checkout: Path) -> dict[str, str]:
    """Return variables for a repeatable run: one hash seed, and a path to the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "PYTHONPATH": str(checkout)}


def wait_for(process: subprocess.Popen[bytes], text: str) -> None:
    """Read a process's output until this text has come."""
    output: IO[bytes] = process.stdout
    said, deadline = "", time.monotonic() + START_SECONDS
    while text not in said:
        ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(output.fileno(), 65536) if ready else b""
        if not data:
            raise RuntimeError(f"{process.args} did not print {text!r}:\n{said}")
        said += data.decode()


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process: politely, then not."""
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()

"""A server in a process of its own: started, asked for its CPU time, always ended."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cpus

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20
STOP_SECONDS = 5

LISTENING = re.compile(r"^listening on http://127\.0\.0\.1:(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Running:
    """A server that accepts connections on a loopback port."""

    pid: int
    port: int
    announcement: str
    """What it printed until it listened."""

    def cpu_seconds(self) -> float:
        """Return the user and system time that all its threads have used so far."""
        stat = Path(f"/proc/{self.pid}/stat")
        return from_proc(stat.read_text()) if stat.exists() else from_ps(self.pid)


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Run the Python interpreter with these arguments until this context ends."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    cpus.keep_off_the_clients(process.pid)
    try:
        text, port = announced(process)
        yield Running(process.pid, port, text)
    finally:
        end(process)


def announced(process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Return what the process printed until it listened, and its port."""
    text = ""
    deadline = time.monotonic() + START_SECONDS
    while (found := LISTENING.search(text)) is None:
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not data:
            raise RuntimeError(f"{process.args} does not listen:\n{text}")
        text += data.decode()
    return text, int(found[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process: politely, then not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def from_proc(stat: str) -> float:
    """Read utime and stime, fields 14 and 15 (proc(5)); the second may hold blanks."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def from_ps(pid: int) -> float:
    """Ask ps, which on macOS counts hundredths of a second."""
    command = ["ps", "-o", "time=", "-p", str(pid)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = seconds * 60 + float(part)
    return seconds

"""The real command, looked at from outside: descriptors, memory, processes, sockets, CPU time, and
what a bystander notices.

Linux only: every look reads /proc.
"""

import http.client
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.e2e.leftovers import descendants, memory_mb
from tests.e2e.serving import Server, connect

IN_PROCESS, ENVIRONMENTS = ("--in-process",), ()
WAYS: list[tuple[str, ...]] = [ENVIRONMENTS, IN_PROCESS]
"""Options of `gateway serve` that say where handlers run."""

WORKERS: list[tuple[str, ...]] = [(), ("--workers", "2")]
"""Options that say in how many processes the listener is."""

TICKS = os.sysconf("SC_CLK_TCK")

COVERED = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'


def without_control_groups(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one where it finds no control groups; needs root."""
    unshare = shutil.which("unshare")
    assert unshare, "unshare(1) of util-linux is not installed"
    return [unshare, "--mount", "sh", "-c", COVERED, "sh", *command]


@dataclass(frozen=True, slots=True)
class Look:
    """What a process and all that it has started hold at one moment."""

    descriptors: int
    """Of the process itself."""
    processes: int
    """The process and its descendants."""
    listening: int
    """Listening TCP sockets of the process itself."""
    memory_mb: float
    """Private resident memory of the process itself."""


def look(pid: int) -> Look:
    """Return what a process holds now."""
    held = held_files(pid)
    sockets = listening_sockets()
    return Look(
        len(held),
        1 + len(descendants(pid)),
        sum(file in sockets for file in held),
        memory_mb(pid),
    )


def held_files(pid: int) -> list[str]:
    """Return what the descriptors of a process point to, as /proc names it."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:  # closed since the listing
            continue
    return found


def listening_sockets() -> set[str]:
    """Return all listening TCP sockets of the machine as /proc/PID/fd names them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.add(f"socket:[{fields[9]}]")
    return found


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time of processes so far, without that of children that have ended."""
    return sum(_ticks(pid) for pid in pids) / TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Bystander(threading.Thread):
    """Asks for the same thing at a steady rate on connections of its own, and notes what came.

    A latency runs from the moment at which the request was due.
    """

    def __init__(self, server: Server, path: str, rate: float, body: bytes | None) -> None:
        super().__init__(daemon=True)
        self._server, self._path, self._pause, self._body = server, path, 1 / rate, body
        self._over = threading.Event()
        self.latencies: list[float] = []
        """In seconds, one for each answer, whatever its status."""
        self.outcomes: Counter[str] = Counter()
        """How often each status came, or the name of each error."""

    def run(self) -> None:
        connection = connect(self._server)
        due = perf_counter()
        while not self._over.wait(max(0.0, due - perf_counter())):
            try:
                self.outcomes[self._ask(connection)] += 1
                self.latencies.append(perf_counter() - due)
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error).__name__] += 1
                connection.close()
            due = max(due + self._pause, perf_counter() - 1.0)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        connection.request("POST" if self._body else "GET", self._path, self._body)
        with closing(connection.getresponse()) as response:
            response.read()
            return str(response.status)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._over.set()

    def percentile(self, share: float) -> float:
        """Return the latency, in seconds, that this share of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def watching(server: Server) -> Iterator[list[float]]:
    """Look at the private memory of a server's process, in MB, as long as the block lasts."""
    found, over = [look(server.pid).memory_mb], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            found.append(look(server.pid).memory_mb)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


@contextmanager
def bystander(
    server: Server, path: str = "/", *, rate: float = 100.0, body: bytes | None = None
) -> Iterator[Bystander]:
    """Have a bystander ask, or send this body, as long as the block lasts."""
    client = Bystander(server, path, rate, body)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.join()

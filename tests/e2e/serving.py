"""Real processes for tests: the gateway's command, or any other server, and what they print.

Nothing here sleeps: a waiting test is woken by a line, an exit or a pipe, and has a deadline.
"""

import http.client
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"

DEADLINE_SECONDS = 30.0
"""What no step of any test takes, even on a machine that does three other things."""

IN_PROCESS: list[list[str]] = [["--in-process"], ["--in-process", "--server", "uvicorn"]]
"""Arguments of `gateway serve` that run handlers in this process, behind either front."""

HTTPS: list[list[str]] = [
    ["--in-process", "--https"],
    ["--in-process", "--https", "--attribute", "routing.http2.enabled=false"],
]
"""The same over TLS: clients that can speak HTTP/2 do, and then none does."""

PLAIN: list[list[str]] = [[], *IN_PROCESS]
"""Those without TLS, for tests that write bytes of their own."""

FRONTS: list[list[str]] = [*PLAIN, *HTTPS]
"""Arguments of `gateway serve` that choose a way; every test of one way runs with each."""

SHARED = "/var/tmp"
"""An environment sees this directory; its /tmp is its own."""

STATE = tempfile.TemporaryDirectory(prefix="state-")
"""Where the authority of generated certificates stays, as long as the tests run."""

LISTENING = re.compile(r"listening on (?P<url>https?://\S+)")


class Lines:
    """The lines of a pipe, taken by a thread as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.decode(errors="surrogateescape").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def __call__(self) -> list[str]:
        """Return the lines so far."""
        with self._changed:
            return self._lines.copy()

    def text(self) -> str:
        """Return the lines so far as one text."""
        return "\n".join(self())

    def wait_for(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """Wait for a line, from a given one on, in which a regular expression is found."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: self._found(pattern, after) or self._is_over, DEADLINE_SECONDS
            )
            match = self._found(pattern, after)
            assert match, (
                f"{'no' if found else 'waited without success for'} {pattern!r} in:\n"
                + "\n".join(self._lines)
            )
            return match

    def wait_for_end(self) -> list[str]:
        """Wait until the other side closed the pipe; returns all lines."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_over, DEADLINE_SECONDS)
            return self._lines.copy()

    def _found(self, pattern: str, after: int) -> re.Match[str] | None:
        matches = (re.search(pattern, line) for line in self._lines[after:])
        return next((match for match in matches if match), None)

    def close(self) -> None:
        """End the thread; the other side of the pipe is closed by now."""
        self._thread.join(DEADLINE_SECONDS)
        self._stream.close()


class Process:
    """A child in a session of its own; a context manager that leaves nothing behind."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(env or {}),
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509 - one thread of ours may be anywhere
        )
        assert self._child.stdout
        assert self._child.stderr
        self.output = Lines(self._child.stdout)
        self.errors = Lines(self._child.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self.output.close()
        self.errors.close()

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Say whether the process has not ended."""
        return self._child.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, as `kill` does."""
        self._child.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; returns the exit status, negative for a signal."""
        return self._child.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """Ask it to stop, as `kill` and container runtimes do; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()


class Server(Process):
    """A process that says where it listens."""

    url = ""

    def wait_until_listening(
        self, pattern: str = LISTENING.pattern, *, on_stderr: bool = False
    ) -> Self:
        """Wait for the line with the URL."""
        lines = self.errors if on_stderr else self.output
        try:
            self.url = lines.wait_for(pattern)["url"].rstrip("/")
        except AssertionError as error:
            raise AssertionError(f"{error}\nand:\n{self.errors.text()}") from error
        return self

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self.url.rpartition(":")[2])


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child: ours without those of AWS and of an active environment, the
    repository importable, sets in the same order in all of them.

    Coverage is not measured there: it would cost half as much time and memory again.
    """
    dropped = ("AWS_", "COVERAGE_", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
    own["XDG_STATE_HOME"] = STATE.name
    return {**kept, **own, **more}


def gateway_command(*arguments: str) -> list[str]:
    """Return the command line of `gateway`."""
    return [sys.executable, "-m", "gateway", *arguments]


@contextmanager
def serving(
    handler: str,
    *options: str,
    code: Path = APPS,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Serve a handler on a free port until the block ends; one that still runs then has to stop
    with status 0 and without a word on stderr."""
    command = gateway_command("serve", handler, "--code", str(code), "--port", str(port), *options)
    with Server(command, env=env) as server:
        yield server.wait_until_listening()
        if server.is_running:
            assert server.stop() == 0
            assert server.errors.wait_for_end() == []


PIPES = ("entered", "opened", "passed")


class Gate:
    """Where a handler waits until the test lets it go on, across processes; see apps/gate.py.

    Its files are pipes: to those an environment may write outside its /tmp.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gate-", dir=SHARED))
        self._entered, self._opened, self._passed = map(self._pipe, PIPES)

    def _pipe(self, name: str) -> int:
        os.mkfifo(self.path / name)
        return os.open(self.path / name, os.O_RDWR)

    def wait_entered(self, count: int = 1) -> None:
        """Wait until this many more invocations are at the gate."""
        for _ in range(count):
            ready, _, _ = select.select([self._entered], [], [], DEADLINE_SECONDS)
            assert ready, "no invocation came to the gate"
            os.read(self._entered, 1)

    def wait_passed(self) -> None:
        """Wait until an invocation is behind the gate."""
        ready, _, _ = select.select([self._passed], [], [], DEADLINE_SECONDS)
        assert ready, "no invocation passed the gate"

    def has_been_passed(self) -> bool:
        """Say whether an invocation is behind the gate."""
        return bool(select.select([self._passed], [], [], 0)[0])

    def open(self, count: int = 1) -> None:
        """Let this many go on."""
        os.write(self._opened, b"." * count)

    def close(self) -> None:
        """Let all go on, and all later ones."""
        for descriptor in (self._entered, self._opened, self._passed):
            os.close(descriptor)
        shutil.rmtree(self.path)


def connect(server: Server) -> http.client.HTTPConnection:
    """Return a connection on which a test sends, waits for and reads one step at a time."""
    authority = server.url.partition("://")[2]
    if server.url.startswith("https:"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(authority, timeout=DEADLINE_SECONDS, context=context)
    return http.client.HTTPConnection(authority, timeout=DEADLINE_SECONDS)


def get(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and body of one request on a connection of its own."""
    with closing(connect(server)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def wait_until_refused(server: Server) -> None:
    """Connect until the server no longer accepts."""
    address = "127.0.0.1", server.port
    for _ in range(1_000_000):
        try:
            socket.create_connection(address, DEADLINE_SECONDS).close()
        except ConnectionError:
            return
    raise AssertionError(f"{address} still accepts")

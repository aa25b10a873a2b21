"""The fixed workloads of `make instructions`, each a few named figures of one checkout.

Everything goes through doors that stay: the command, its socket, and the codec's public name.
One connection asks and waits, so that the gateway does the same for each request. A figure is the
median of a few rounds, because timers and the garbage collector fall into some of them. With an
environment the gateway, the function and the client take turns, step by step, and periodic timers
are stopped: else the figure grows with the time that a busy machine takes.
"""

import shutil
import socket
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from callgrind import Counted, counted, started, wait_for
from codec import KB, text_of
from comparison import Figures
from heads import HEADS, TARGET, request_bytes

HERE = Path(__file__).resolve().parent
FUNCTION = HERE / "servers" / "function"
STEPPED = HERE / "servers" / "stepped"
READY = "listening on "
COMMAND = ("-m", "gateway")
STILL = (str(HERE / "servers" / "still_gateway.py"),)
INLINE = ("--code", str(FUNCTION), "--in-process", "--threads", "0")
ENVIRONMENT = ("--concurrency", "1", "--timeout", "60", "--min-environments", "1")
FIELDS = {"Rss": "resident", "Anonymous": "anonymous"}
"""Of smaps_rollup (proc(5)). Not Pss and the private ones: these depend on what other processes
have the same libraries open."""


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    rounds: int
    count: int
    """Events or requests in a round; a round before the first is not counted."""


Round = Callable[[int], None]
"""Has the counted process do this many."""


def codec(checkout: Path, amount: Amount) -> Figures:
    """Count encode and decode of three typical events."""
    figures = Figures()
    with TemporaryDirectory() as directory:
        script = str(HERE / "codec_loop.py")
        with counted([script], checkout, Path(directory), from_start=False) as process:
            process.wait_for("ready")
            process.begin()
            for case in ("small", "browser", "body"):
                rounds = counts(process, loop(process, case), amount)
                figures[f"codec, {case}"] = round(statistics.median(rounds))
    return figures


def loop(process: Counted, case: str) -> Round:
    """Return what has the codec's loop do one case."""

    def run(count: int) -> None:
        process.tell(f"{case} {count}")
        process.wait_for("done")

    return run


def data_path(checkout: Path, amount: Amount) -> Figures:
    """Count the start until the gateway listens, then requests from socket to socket, the handler
    on the event loop."""
    requests = {"GET, 2 headers": get(2), "GET, 12 headers": get(12), "POST of 1 KB": post()}
    with serving(checkout, INLINE) as (process, connection):
        figures = {"start": float(process.count())}
        for kind, request in requests.items():
            rounds = counts(process, asking(connection, request), amount)
            figures[f"data path, {kind}"] = round(statistics.median(rounds))
        return figures


def environments(checkout: Path, amount: Amount) -> Figures:
    """Count the gateway's side of an invocation in an execution environment."""
    with stepped(checkout) as (process, run):
        rounds = counts(process, run, amount)
        return {"environment, GET, 2 headers": round(statistics.median(rounds))}


@contextmanager
def stepped(checkout: Path) -> Iterator[tuple[Counted, Round]]:
    """Run a gateway with one environment, whose function waits for a step of the client."""
    with TemporaryDirectory() as directory, closing(socket.socket(socket.AF_UNIX)) as steps:
        code = Path(shutil.copytree(STEPPED, Path(directory) / "code"))
        steps.bind(str(code / "steps"))
        steps.listen()
        options = ("--code", str(code), *ENVIRONMENT)
        with serving(checkout, options, STILL) as (process, connection):
            function, _ = steps.accept()
            process.tell("still")
            process.wait_for("still")
            with closing(function):
                yield process, taking_turns(process, connection, function)


def taking_turns(process: Counted, connection: socket.socket, function: socket.socket) -> Round:
    """Return what sends requests so that the gateway never has two things to do at once: the event
    is delivered before the function answers, and its answer taken before the next request."""

    def run(count: int) -> None:
        for _ in range(count):
            process.wait_until_idle()
            connection.sendall(get(2))
            received(function)
            process.wait_until_idle()
            function.sendall(b".")
            read_response(connection)
        process.wait_until_idle()

    return run


def memory(checkout: Path, amount: Amount) -> Figures:
    """Measure the memory, in KB, of a gateway that listens; not under valgrind."""
    each = [resident(checkout) for _ in range(amount.rounds)]
    return {
        f"memory, {name} KB": statistics.median(one[name] for one in each)
        for name in FIELDS.values()
    }


def resident(checkout: Path) -> Figures:
    """Return what one gateway has in memory when it listens."""
    with (
        TemporaryDirectory() as directory,
        started([sys.executable, *command(Path(directory), INLINE)], checkout) as process,
    ):
        wait_for(process, READY)
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8")
    values = dict(line.split()[:2] for line in rollup.splitlines()[1:])
    return {name: float(values[f"{field}:"]) for field, name in FIELDS.items()}


def command(
    directory: Path, options: tuple[str, ...], gateway: tuple[str, ...] = COMMAND
) -> list[str]:
    """Return the interpreter's arguments that serve the function on a socket in the directory."""
    serve = ["serve", "app.handler", "--quiet", "--uds", str(directory / "socket")]
    return [*gateway, *serve, *options]


@contextmanager
def serving(
    checkout: Path, options: tuple[str, ...], gateway: tuple[str, ...] = COMMAND
) -> Iterator[tuple[Counted, socket.socket]]:
    """Run a gateway under callgrind and connect to it until this context ends."""
    with TemporaryDirectory() as directory:
        path = Path(directory)
        with counted(command(path, options, gateway), checkout, path) as process:
            process.wait_for(READY)
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.connect(str(path / "socket"))
                yield process, connection


def asking(connection: socket.socket, request: bytes) -> Round:
    """Return what sends a request and waits for its response, again and again."""

    def run(count: int) -> None:
        for _ in range(count):
            connection.sendall(request)
            read_response(connection)

    return run


def read_response(connection: socket.socket) -> None:
    """Read one response with a content-length; anything but 200 is an error."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"not a greeting: {data!r}")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += received(connection)


def received(connection: socket.socket) -> bytes:
    """Return what comes next."""
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the gateway closed the connection")
    return data


def counts(process: Counted, run: Round, amount: Amount) -> list[float]:
    """Return the instructions for one event or request, round by round."""
    run(amount.count)
    process.count()
    rounds = []
    for _ in range(amount.rounds):
        run(amount.count)
        rounds.append(process.count() / amount.count)
    return rounds


def get(count: int) -> bytes:
    """Return a GET with this many headers."""
    return request_bytes(count)


def post() -> bytes:
    """Return a POST of 1 KB of text with 12 headers and those of its body."""
    body = text_of(KB).encode()
    headers = [
        *HEADS[12],
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    lines = [name + b": " + value for name, value in headers]
    return b"\r\n".join([b"POST " + TARGET + b" HTTP/1.1", *lines, b"", body])


WORKLOADS: dict[str, Callable[[Path, Amount], Figures]] = {
    "codec": codec,
    "data_path": data_path,
    "environments": environments,
    "memory": memory,
}

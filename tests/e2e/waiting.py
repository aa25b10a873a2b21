"""A request whose handler waits at a gate."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.e2e.serving import (
    APPS,
    Gate,
    Server,
    connect,
)


@contextmanager
def waiting_request(server: Server, gate: Gate) -> Iterator["Waiting"]:
    """Send a request whose handler is at the gate when the block begins."""
    with closing(connect(server)) as connection:
        connection.request("GET", "/wait", headers={"X-Gate": str(gate.path)})
        gate.wait_entered()
        yield Waiting(connection)


class Waiting:
    """A request that has no answer yet."""

    def __init__(self, connection: object) -> None:
        self._connection = connection

    def answer(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()  # type: ignore[attr-defined]
        return response.status, response.read()


def code_with_gate(directory: Path, source: str) -> Path:
    code = directory / "code"
    code.mkdir()
    (code / "app.py").write_text(source)
    (code / "gate.py").write_text((APPS / "gate.py").read_text())
    return code

"""What a gateway with one handler imports, from its start to its end."""

import pytest

from tests.e2e.serving import Server, gateway_command, get
from tests.process.whole import WAYS

pytestmark = pytest.mark.slow

DEAR = {"pydantic", "starlette", "httpx", "cryptography", "ngh2", "uvicorn"} | {
    "gateway.compose.https"
}
"""What costs tens of milliseconds and megabytes, and is for other features."""


@pytest.mark.parametrize("way", [*WAYS, ("--workers", "2")], ids=" ".join)
def test_handler_over_plain_http_imports_nothing_that_it_does_not_need(
    way: tuple[str, ...],
) -> None:
    command = gateway_command(
        "serve", "echo.handler", "--code", "tests/e2e/apps", "--port", "0", *way
    )
    with Server(command, env={"PYTHONPROFILEIMPORTTIME": "1"}) as server:
        server.wait_until_listening()
        assert get(server, "/")[0] == 200
        assert server.stop() == 0
        lines = server.errors.wait_for_end()

    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    assert "gateway.compose.functions" in imported
    assert imported & DEAR == set()

"""Runtimes of tests for `provided.al2023`, for the system's own Python."""

import shutil
from pathlib import Path

TEXT = """#!PYTHON
import http.client, os, signal
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    connection.request("GET", "/2018-06-01/runtime/invocation/next")
    event = connection.getresponse()
    event.read()
    answer = b'{"statusCode": 200, "body": "answered"}' + b" " * SIZE
    request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    path = f"/2018-06-01/runtime/invocation/{request_id}/response"
    connection.request("POST", path, answer)
    if DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    connection.getresponse().read()
"""


def write_bootstrap(directory: Path, text: str) -> None:
    """Put an executable bootstrap into a directory of code."""
    bootstrap = directory / "bootstrap"
    bootstrap.write_text(text)
    bootstrap.chmod(0o755)


def answering(*, size: int = 0, dies: bool = False) -> str:
    """Return a runtime that answers with this many bytes more, and may die after each answer."""
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
    assert python, "the system has no Python"
    return TEXT.replace("PYTHON", python).replace("SIZE", str(size)).replace("DIES", str(dies))

"""curl, and what it saw."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.e2e.serving import DEADLINE_SECONDS

ECHO = "echo.handler"
CHROME = "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
PADDING = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
MEGABYTE = 1024 * 1024


@dataclass
class Reply:
    """One response as curl saw it, its header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    said: str
    """What curl wrote to stderr."""
    version: str

    def written(self, *connection: str) -> list[str]:
        """Return what is in the responses of HTTP/1 alone, nothing for HTTP/2 (alb.md 2.3)."""
        return [] if self.version == "HTTP/2" else list(connection)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def names(self) -> list[str]:
        return [name for name, _ in self.headers]

    def json(self) -> Any:
        return json.loads(self.body)


def run_curl(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    limits = ("--silent", "--show-error", "--insecure", "--max-time", str(DEADLINE_SECONDS))
    command = ["curl", "--disable", "--noproxy", "*", *limits, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def curl(*arguments: str, stdin: bytes = b"") -> Reply:
    """Return the last response; interim ones (100 Continue) come before it."""
    done = run_curl("--include", "--globoff", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    rest = done.stdout
    status = 100
    lines: list[str] = []
    while status < 200:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
    pairs = [line.partition(":") for line in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    return Reply(status, headers, rest, done.stderr.decode(), first.partition(" ")[0])


def page(title: str) -> bytes:
    """Return ALB's page as alb.md 5.2 has it."""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode()

"""AWS's Runtime Interface Emulator with AWS's runtime client, as the other side of a comparison.

It runs one invocation at a time and crashes when four come at once, so it is only ever asked for
one. It starts its runtime with the first invocation.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import process

INSTALLER = Path(__file__).resolve().parent.parent / "tools" / "install-rie"
PATH = "/2015-03-31/functions/function/invocations"


def installed() -> str:
    """Return the path of the binary, "" where it cannot be had; the reason is on stderr."""
    command = [sys.executable, str(INSTALLER)]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def emulating(binary: str, code: Path, handler: str) -> Iterator[int]:
    """Run the emulator with a handler until this context ends; gives its port."""
    port, api_port = free_ports(2)
    command = [
        *(binary, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
        *(sys.executable, "-m", "awslambdaric", handler),
    ]
    emulator = subprocess.Popen(
        command,
        cwd=code,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_open(port)
        yield port
    finally:
        end(emulator)


def end(emulator: "subprocess.Popen[bytes]") -> None:
    """End the emulator, which ends its runtime; its runtime ends without it too."""
    emulator.terminate()
    try:
        emulator.wait(process.STOP_SECONDS)
    except subprocess.TimeoutExpired:
        emulator.kill()
        emulator.wait()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now: the emulator cannot choose one by itself."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until_open(port: int) -> None:
    """Wait until something listens; raises TimeoutError."""
    deadline = time.monotonic() + process.START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise TimeoutError("the Runtime Interface Emulator does not listen")


def request_bytes(event: bytes) -> bytes:
    """Return the request that invokes with an event."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(event)}\r\n\r\n"
    return head.encode() + event

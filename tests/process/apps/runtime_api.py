"""A function that does to Runtime APIs what the query asks for."""

import json
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic  # noqa: TID251 - a function has no Clock
from typing import Any

ADDRESS = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01"


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    asked = event.get("queryStringParameters") or {}
    return {"statusCode": 200, "body": DOES[asked.get("do", "address")](asked)}


def address(_asked: dict[str, str]) -> str:
    return ADDRESS


def spin(asked: dict[str, str]) -> str:
    """Take one core."""
    end = monotonic() + float(asked["seconds"])
    while monotonic() < end:
        pass
    return ""


def wait(asked: dict[str, str]) -> str:
    """Keep the environment busy until a pipe says to go on."""
    gate = Path(asked["gate"])
    with (gate / "entered").open("wb", 0) as entered:
        entered.write(b"!")
    with (gate / "opened").open("rb", 0) as opened:
        opened.read(1)
    return ADDRESS


def curl(asked: dict[str, str]) -> str:
    """Ask a Runtime API from a child; return the statuses."""
    statuses = []
    for path in ("ping", "runtime/invocation/next"):
        url = f"http://{asked['address']}{BASE}/{path}"
        command = ["curl", "-so", "/dev/null", "-m", "5", "-w", "%{http_code}", url]
        statuses.append(
            subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode()
        )
    return json.dumps(statuses)


def connected() -> socket.socket:
    host, port = ADDRESS.split(":")
    return socket.create_connection((host, int(port)))


def flood(asked: dict[str, str]) -> str:
    """Pipeline requests on some connections, as many as they take."""
    end = monotonic() + float(asked["seconds"])
    request = f"GET {BASE}/ping HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode()
    sockets = [connected() for _ in range(4)]
    for it in sockets:
        it.setblocking(False)
    data = request * 10_000
    left = dict.fromkeys(sockets, data)
    while monotonic() < end:
        for it in sockets:
            try:
                left[it] = left[it][it.send(left[it]) :] or data
                it.recv(1 << 20)
            except BlockingIOError:
                continue
            except OSError:
                it.close()
                sockets.remove(it)
                sockets.append(connected())
                sockets[-1].setblocking(False)
                left[sockets[-1]] = data
                break
    return ""


def announce(asked: dict[str, str]) -> str:
    """Announce answers of 6 MB on many connections, send almost all of each, and stay."""
    sockets = []
    for number in range(60):
        it = connected()
        it.settimeout(2)
        path = f"{BASE}/runtime/invocation/unknown-{number}/response"
        head = f"POST {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: 6000000\r\n\r\n"
        with suppress(OSError):
            it.sendall(head.encode() + bytes(5_999_999))
        sockets.append(it)
    held = wait(asked)
    for it in sockets:
        it.close()
    return held


DOES = {"address": address, "spin": spin, "wait": wait, "curl": curl, "flood": flood}
DOES |= {"announce": announce}

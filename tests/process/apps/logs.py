"""A function that writes to its logs what the query asks for."""

import os
import stat
import struct
import time
from typing import Any

DRIVING = b"a\x1b[31m\r\x9b\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8\xff\x00b"
FORGED = "x\nEND RequestId: 1\nREPORT RequestId: 1\n2026-01-01T00:00:00.000000+00:00 START forged"


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    DOES[(event.get("queryStringParameters") or {}).get("do", "say")]()
    return {"statusCode": 200}


def say() -> None:
    os.write(1, b"said\n")


def much() -> None:
    os.write(1, (b"x" * 999 + b"\n") * 200)


def drive() -> None:
    os.write(1, DRIVING + b"\n")
    os.write(log_pipe(), frame(DRIVING))
    os.write(log_pipe(), frame(FORGED.encode()))


def lie() -> None:
    os.write(log_pipe(), frame(b"false", 0xFFFFFFF0))


def tell() -> None:
    os.write(log_pipe(), frame(b"one") + frame(b"false", 0xFFFFFFF0) + frame(b"two"))
    os.write(log_pipe(), frame(b"three"))


def log_pipe() -> int:
    """Return the descriptor of the log pipe; the runtime has removed its variable."""
    return next(number for number in range(3, 64) if is_pipe(number))


def is_pipe(number: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


def frame(message: bytes, length: int | None = None) -> bytes:
    size = len(message) if length is None else length
    return struct.pack(">IIQ", 0xA55A0003, size, time.time_ns() // 1000) + message


DOES = {"say": say, "much": much, "drive": drive, "lie": lie, "tell": tell}

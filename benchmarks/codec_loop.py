"""Encodes and decodes on demand: reads `CASE COUNT` lines, answers each with `done`.

`instructions.py` runs it under callgrind, with the package of the checkout that it measures.
"""

import sys
from collections.abc import Callable

from codec import KB, decoding, encoding, reply, request, text_of

Pair = tuple[Callable[[], object], Callable[[], object]]

JSON = b"application/json"


def pairs() -> dict[str, Pair]:
    """Return an encode and a decode for each typical event."""
    text = text_of(KB)
    return {
        "small": (encoding(request(2)), decoding(reply(2))),
        "browser": (encoding(request(12)), decoding(reply(12))),
        "body": (encoding(request(12, JSON, text.encode())), decoding(reply(12, text))),
    }


def main() -> None:
    """Serve until the input ends."""
    known = pairs()
    print("ready", flush=True)
    for line in sys.stdin:
        case, count = line.split()
        repeat(known[case], int(count))
        print("done", flush=True)


def repeat(pair: Pair, count: int) -> None:
    """Encode and decode this often."""
    encode, decode = pair
    for _ in range(count):
        encode()
        decode()


if __name__ == "__main__":
    main()

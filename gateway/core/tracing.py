"""The X-Amzn-Trace-Id header as ALB rewrites it (alb.md 1.9); time and random draws are
arguments."""

from functools import lru_cache

from gateway.core.http import Headers

REWRITE_ABOVE_BYTES = 7 * 1024
"""Above this total of request headers only a Root field is sent on; the guide does not say whether
one header or all of them are meant, so all of them count."""


def trace_header(headers: Headers, *, now: float, draw: str) -> str:
    """Return the value that the target sees; of several incoming lines the last one counts."""
    incoming = None
    for line in headers:
        if len(line[0]) == 15 and line[0].lower() == b"x-amzn-trace-id":
            incoming = line[1]
    fresh = f"1-{_hex_second(int(now))}-{draw}"
    if incoming is None:
        return "Root=" + fresh
    return _continued(incoming.decode(errors="replace"), headers, fresh)


@lru_cache(maxsize=2)
def _hex_second(second: int) -> str:
    return f"{second:08x}"


def _continued(incoming: str, headers: Headers, fresh: str) -> str:
    """Put `Self` in front and keep the rest, or give a fresh Root when the header has no Root."""
    fields = [item.strip() for item in incoming.split(";")]
    root = next((item for item in fields if item.startswith("Root=")), None)
    if root is None:
        return f"Root={fresh}"
    if header_bytes(headers) > REWRITE_ABOVE_BYTES:
        return root
    kept = [item for item in fields if item and not item.startswith("Self=")]
    return ";".join([f"Self={fresh}", *kept])


def header_bytes(headers: Headers) -> int:
    """Return the size of header lines on the wire: name, value, `: ` and CRLF."""
    return sum(len(name) + len(value) + 4 for name, value in headers)

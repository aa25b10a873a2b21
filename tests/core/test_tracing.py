"""The trace header that the target sees."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tracing import REWRITE_ABOVE_BYTES, header_bytes, trace_header

NOW = 1727054242.9
DRAW = "5b1d2c3e4f5061728394a5b6"
FRESH = f"1-66f0c1a2-{DRAW}"
ROOT = "Root=1-67891233-abcdef012345678912345678"


def traced(*values: str, padding: int = 0) -> str:
    headers = [(b"X-Amzn-Trace-Id", value.encode()) for value in values]
    headers += [(b"X-Pad", padding * b"x")] if padding else []
    return trace_header(headers, now=NOW, draw=DRAW)


@pytest.mark.parametrize(
    ("now", "second"),
    [(0.0, "00000000"), (1.99, "00000001"), (NOW, "66f0c1a2"), (2.0**32 - 1, "ffffffff")],
)
def test_fresh_root_holds_the_second_in_hex_and_the_draw(now: float, second: str) -> None:
    assert trace_header([], now=now, draw=DRAW) == f"Root=1-{second}-{DRAW}"


@pytest.mark.parametrize(
    ("incoming", "expected"),
    [
        ("", f"Root={FRESH}"),
        ("CalledFrom=app", f"Root={FRESH}"),
        ("Self=1-2-3", f"Root={FRESH}"),
        ("root=1-2-3", f"Root={FRESH}"),
        (ROOT, f"Self={FRESH};{ROOT}"),
        (f"{ROOT};CalledFrom=app", f"Self={FRESH};{ROOT};CalledFrom=app"),
        (f"CalledFrom=app;{ROOT}", f"Self={FRESH};CalledFrom=app;{ROOT}"),
        (f"Self=1-2-3;{ROOT}", f"Self={FRESH};{ROOT}"),
        (f"{ROOT};Self=1-2-3;Self=4", f"Self={FRESH};{ROOT}"),
        (f" {ROOT} ; ;Sampled=1;", f"Self={FRESH};{ROOT};Sampled=1"),
    ],
)
def test_self_goes_in_front_of_a_root_and_a_root_is_made_where_none_is(
    incoming: str, expected: str
) -> None:
    assert traced(incoming) == expected


def test_request_without_the_header_gets_a_fresh_root() -> None:
    assert traced() == f"Root={FRESH}"
    assert trace_header([(b"X-Amzn-Trace-XX", ROOT.encode())], now=NOW, draw=DRAW) == (
        f"Root={FRESH}"
    )


def test_last_line_counts_whatever_its_case() -> None:
    headers = [(b"X-Amzn-Trace-Id", b"Root=1"), (b"x-amzn-trace-ID", ROOT.encode())]

    assert trace_header(headers, now=NOW, draw=DRAW) == f"Self={FRESH};{ROOT}"


@pytest.mark.parametrize(
    ("excess", "expected"),
    [
        (-1, f"Self={FRESH};{ROOT};CalledFrom=app"),
        (0, f"Self={FRESH};{ROOT};CalledFrom=app"),
        (1, ROOT),
    ],
)
def test_over_7_kb_of_headers_only_the_root_is_sent_on(excess: int, expected: str) -> None:
    incoming = f"{ROOT};CalledFrom=app"
    others = len("X-Amzn-Trace-Id") + len(incoming) + 4 + len("X-Pad") + 4

    assert traced(incoming, padding=REWRITE_ABOVE_BYTES + excess - others) == expected


def test_limit_is_7_kb() -> None:
    assert REWRITE_ABOVE_BYTES == 7168


def test_over_7_kb_a_root_is_still_made_where_none_is() -> None:
    assert traced("Self=1-2-3", padding=8000) == f"Root={FRESH}"


def test_size_of_headers_counts_colon_blank_and_line_end() -> None:
    assert header_bytes([(b"Host", b"a"), (b"X-A", b"")]) == len("Host: a\r\nX-A: \r\n")
    assert header_bytes([]) == 0


@given(st.binary(max_size=40))
def test_any_header_gives_one_line_with_one_root(incoming: bytes) -> None:
    value = trace_header([(b"X-Amzn-Trace-Id", incoming)], now=NOW, draw=DRAW)

    assert re.fullmatch(r"(Self=|Root=)1-66f0c1a2-.*", value, re.DOTALL)
    assert "Root=" in value

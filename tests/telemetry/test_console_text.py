"""The console's text: exact lines, floods, and nothing that drives a terminal."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.notices import FunctionReloaded, LogEntry, Notice, OperatorWarning
from gateway.telemetry.console_text import HINT_LIMIT, ConsoleText
from tests.core.reported import init_reported, init_started, invocation_reported
from tests.telemetry.served import forwarding, request, served

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

NOT_CALLED: dict[str, Any] = {"dispatched_at": 0.0, "target_seconds": -1.0, "target_status": 0}

WENT_WELL = "10:11:12 GET    /cart                          200    21.7 ms (handler 21.0 ms)"


def text(*notices: Notice, is_colored: bool = False) -> str:
    """Return everything that one console says about some notices."""
    console = ConsoleText(is_colored=is_colored)
    return "\n".join(console.lines(notice) for notice in notices)


def asked(**changes: Any) -> str:
    """Return what is said about a request with some fields changed."""
    return text(served(asked=request(**changes)))


def forwarded(status: int = 502, **changes: Any) -> str:
    """Return what is said about a forward with some fields changed."""
    return text(served(status, forwarded=forwarding(**changes)))


def throttled(seconds: float) -> Notice:
    """Return a throttled request, answered this many seconds after the others came."""
    reason = {"error_reason": "LambdaThrottling", "detail": "no room"}
    return served(502, forwarded=forwarding(**reason, **NOT_CALLED), seconds=seconds)


def test_a_request_is_one_aligned_line() -> None:
    several = text(
        served(),
        served(404, asked=request(method="DELETE", target=b"/cart/12?x=1&x=2"), seconds=1.5),
        served(413, forwarded=forwarding(**NOT_CALLED), seconds=0.0004),
    )

    assert several.splitlines() == [
        "10:11:12 GET    /cart                          200    21.7 ms (handler 21.0 ms)",
        "10:11:13 DELETE /cart/12?x=1&x=2               404  1500.0 ms (handler 21.0 ms)",
        "10:11:12 GET    /cart                          413     0.4 ms",
    ]


def test_a_handler_too_quick_to_measure_has_run() -> None:
    assert forwarded(200, target_seconds=0.0).endswith(" ms (handler 0.0 ms)")


def test_what_the_function_printed_is_beneath() -> None:
    assert forwarded(200, log="one\n\n  two\tthree\n") == (
        "10:11:12 GET    /cart                          200    21.7 ms (handler 21.0 ms)\n"
        "    one\n"
        "    \n"
        "      two\tthree"
    )


def test_printing_only_line_ends_shows_nothing() -> None:
    assert forwarded(200, log="\n\n") == WENT_WELL


@pytest.mark.parametrize(
    ("status", "reason", "detail", "expected"),
    [
        (
            502,
            "LambdaInvalidResponse",
            "headers.content-length is number 17; must be a string",
            "    502 LambdaInvalidResponse: headers.content-length is number 17; must be a string",
        ),
        (463, "", "X-Forwarded-For holds 31 addresses, 30 allowed",
         "    463 X-Forwarded-For holds 31 addresses, 30 allowed"),
        (413, "LambdaRequestTooLarge", "", "    413 LambdaRequestTooLarge"),
        (502, "LambdaUnhandled", "ValueError: one\n  two\n",
         "    502 LambdaUnhandled: ValueError: one\n      two"),
        (502, "LambdaUnhandled", "\x1b[2J", "    502 LambdaUnhandled: \\x1b[2J"),
    ],
)  # fmt: skip
def test_a_failure_has_its_reason_beneath(
    status: int, reason: str, detail: str, expected: str
) -> None:
    said = forwarded(status, error_reason=reason, detail=detail)

    assert said.partition("\n")[2] == expected


def test_output_comes_before_the_reason() -> None:
    said = forwarded(502, log="printed", error_reason="LambdaUnhandled", detail="ValueError")

    assert said.splitlines()[1:] == ["    printed", "    502 LambdaUnhandled: ValueError"]


def test_a_client_that_left() -> None:
    assert forwarded(460, **NOT_CALLED).endswith(" 460    21.7 ms (client left)")


def test_a_hint_is_given_once() -> None:
    hinted = served(hint="try --faithful")

    assert text(hinted, hinted, served()).splitlines() == [
        WENT_WELL,
        "    hint: try --faithful",
        WENT_WELL,
        WENT_WELL,
    ]


def test_hints_without_end_stop_at_a_limit() -> None:
    notices = [served(hint=str(number)) for number in range(HINT_LIMIT + 9)]

    assert text(*notices).count("hint: ") == HINT_LIMIT


def test_the_reason_for_throttling_is_given_once_a_second() -> None:
    burst = [throttled(0.01) for _ in range(42)]

    lines = text(*burst, throttled(1.0), throttled(1.1), throttled(2.0)).splitlines()
    assert [line for line in lines if line.startswith(" ")] == [
        "    502 LambdaThrottling: no room",
        "    502 LambdaThrottling: no room (and 41 more)",
        "    502 LambdaThrottling: no room (and 1 more)",
    ]
    assert len(lines) == 45 + 3


def test_what_was_held_back_is_told_with_the_next_request() -> None:
    lines = text(throttled(0.01), throttled(0.01), throttled(0.01), served(seconds=1.0), served())

    assert lines.splitlines()[4:6] == [
        "    LambdaThrottling (and 2 more)",
        "10:11:13 GET    /cart                          200  1000.0 ms (handler 21.0 ms)",
    ]
    assert lines.count("LambdaThrottling") == 2


def test_within_the_second_nothing_is_told_yet() -> None:
    lines = text(throttled(0.01), throttled(0.01), served(seconds=0.5)).splitlines()

    assert [line for line in lines if line.startswith(" ")] == ["    502 LambdaThrottling: no room"]


def test_other_reasons_are_not_held_back() -> None:
    failed = served(502, forwarded=forwarding(error_reason="LambdaUnhandled"))

    assert text(failed, failed).count("LambdaUnhandled") == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target": b"/a%20b?c=%22"}, "GET    /a%20b?c=%22 "),
        ({"target": b"/\x1b[2J\x07"}, "GET    /\\x1b[2J\\x07 "),
        ({"target": b"/\r\n\t"}, "GET    /\\x0d\\x0a\\x09 "),
        ({"target": b"/\xc3\xa9\xff"}, "GET    /\\xc3\\xa9\\xff "),
        ({"target": b""}, "GET    -  "),
        ({"method": ""}, "-      /cart "),
        ({"method": "\x1b]0;title"}, "\\x1b]0;title /cart "),
        ({"method": "M" * 50}, f"{'M' * 20} /cart "),
        ({"target": b"/" + b"x" * 119}, f"GET    /{'x' * 119} 200"),
        ({"target": b"/" + b"x" * 120}, f"GET    /{'x' * 116}... 200"),
        ({"target": b"/" + b"x" * 16_000}, f"GET    /{'x' * 116}... 200"),
        ({"target": b"/" + b"\x1b" * 40}, f"GET    /{(chr(92) + 'x1b') * 29}... 200"),
    ],
)
def test_what_a_client_sent_is_shown_and_cut(changes: dict[str, Any], expected: str) -> None:
    assert asked(**changes)[9:].startswith(expected)


@pytest.mark.parametrize(
    ("status", "color"), [(200, 32), (302, 36), (404, 33), (460, 33), (502, 31)]
)
def test_a_color_for_each_class_of_status(status: int, color: int) -> None:
    said = text(served(status), is_colored=True)

    assert f" \x1b[{color}m{status}\x1b[0m " in said
    assert said.replace(f"\x1b[{color}m", "").replace("\x1b[0m", "") == text(served(status))


def test_a_status_of_no_known_class_has_no_color() -> None:
    assert text(served(0), is_colored=True) == text(served(0))


@pytest.mark.parametrize(
    ("notice", "expected"),
    [
        (FunctionReloaded("app.handler"), "reloaded app.handler"),
        (FunctionReloaded("app.handler", 'SyntaxError: x\n  File "a.py", line 1\n'),
         'could not reload app.handler:\n    SyntaxError: x\n      File "a.py", line 1'),
        (FunctionReloaded("app.handler", "\x1b[2J"),
         "could not reload app.handler:\n    \\x1b[2J"),
        (OperatorWarning("workers are busy"), "workers are busy"),
        (OperatorWarning("one\ntwo\x9b"), "one\n    two\\x9b"),
    ],
)  # fmt: skip
def test_other_notices(notice: Notice, expected: str) -> None:
    assert text(notice) == expected


@pytest.mark.parametrize("code", [*range(9), *range(11, 32), *range(127, 160)])
def test_every_control_character_is_shown_by_its_number(code: int) -> None:
    assert forwarded(200, log=f"a{chr(code)}b").endswith(f"\n    a\\x{code:02x}b")


@pytest.mark.parametrize("turn", ["\u202e", "\u2066", "\u200f"])
def test_text_cannot_be_turned_around(turn: str) -> None:
    assert f"    a\\u{ord(turn):04x}b" in forwarded(log=f"a{turn}b")


@pytest.mark.parametrize("kept", ["é", "日本", "👩‍💻", "a\xa0b"])
def test_other_characters_are_shown_as_they_are(kept: str) -> None:
    assert forwarded(log=kept).endswith(f"\n    {kept}")


@given(log=st.text(), detail=st.text(), hint=st.text(), method=st.text(), target=st.binary())
def test_nothing_drives_the_terminal(
    *, log: str, detail: str, hint: str, method: str, target: bytes
) -> None:
    forward = forwarding(log=log, detail=detail)
    notices = [
        served(asked=request(method=method, target=target), forwarded=forward, hint=hint),
        FunctionReloaded("app.handler", log),
        OperatorWarning(log),
    ]

    assert not CONTROL.search(text(*notices))


@given(st.text())
def test_a_function_cannot_fake_a_request(log: str) -> None:
    said = forwarded(200, log=log)

    assert all(line.startswith("    ") for line in said.split("\n")[1:])


@given(method=st.text(), target=st.binary())
def test_a_client_cannot_fake_a_line(*, method: str, target: bytes) -> None:
    said = asked(method=method, target=target)

    assert said.startswith("10:11:12 ")
    assert "\n" not in said
    assert "\t" not in said


def test_what_an_invocation_printed_is_under_its_request_only() -> None:
    assert text(invocation_reported("hello")) == text(init_started()) == text(init_reported()) == ""


def test_what_an_init_phase_printed_is_shown() -> None:
    entries = [LogEntry(0.0, "loading\nmore"), LogEntry(0.0, "\x1b[2J")]

    assert text(init_reported(entries=entries)) == (
        "07:30:28 INIT   shop                                 463.5 ms\n"
        "    loading\n"
        "    more\n"
        "    \\x1b[2J"
    )


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"status": "timeout"}, " ms timeout"),
        ({"status": "error", "error_type": "Runtime.X\n"}, " ms error Runtime.X"),
    ],
)
def test_an_init_phase_that_failed_is_a_line(fields: dict[str, str], ending: str) -> None:
    line = text(init_reported(**fields))

    assert line.endswith(ending)
    assert "\n" not in line

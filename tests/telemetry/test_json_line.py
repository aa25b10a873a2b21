"""Notices as JSON lines."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import Forwarding
from gateway.core.notices import FunctionReloaded, LogEntry, OperatorWarning
from gateway.telemetry.json_line import json_line, object_line
from tests.core.reported import init_reported, init_started, invocation_reported
from tests.telemetry.served import forwarding, request, served


def members(line: str) -> Any:
    """Return the object of a line."""
    return orjson.loads(line)


def test_a_request() -> None:
    asked = request(target=b"/cart?x=1&y", query_string=b"x=1&y")
    forward = forwarding(request_id="36f7a1b0-5d4b-4d1c-8c39-0123456789ab", log="hello\n")

    assert json_line(served(asked=asked, forwarded=forward)) == (
        '{"type":"RequestServed","time":"2026-01-05T10:11:12.345678Z","listener":"http:80",'
        '"client":"198.51.100.7",'
        '"client_port":40111,"method":"GET","path":"/cart","status":200,"total_ms":21.678,'
        '"handler_ms":21.0,"sent_bytes":277,"trace_id":"Root=1-66f0c1a2-5b1d2c3e4f5061728394a5b6",'
        '"query":"x=1&y","function":"shop","version":"7","target_group_arn":"arn:aws:'
        'elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071",'
        '"request_id":"36f7a1b0-5d4b-4d1c-8c39-0123456789ab","log":"hello\\n"}'
    )


def test_a_failure_has_its_reason() -> None:
    forward = forwarding(error_reason="LambdaUnhandled", detail="ValueError: no")

    found = members(json_line(served(502, forwarded=forward, hint="look")))
    assert found["status"] == 502
    assert (found["error_reason"], found["detail"], found["hint"]) == (
        "LambdaUnhandled",
        "ValueError: no",
        "look",
    )


def test_what_has_nothing_to_say_is_left_out() -> None:
    found = members(json_line(served()))

    assert not found.keys() & {"query", "request_id", "error_reason", "detail", "hint", "log"}


def test_a_request_that_no_function_got_names_none() -> None:
    found = members(json_line(served(400, forwarded=Forwarding())))

    assert found["listener"] == "http:80"
    assert not found.keys() & {"target_group_arn", "function", "version"}


def test_a_function_that_did_not_answer_has_no_time() -> None:
    forward = forwarding(dispatched_at=0.0, target_seconds=-1.0)

    assert members(json_line(served(460, forwarded=forward)))["handler_ms"] is None


def test_a_function_reloaded() -> None:
    assert json_line(FunctionReloaded("app.handler", "SyntaxError")) == (
        '{"type":"FunctionReloaded","handler":"app.handler","error":"SyntaxError"}'
    )


def test_a_warning() -> None:
    assert json_line(OperatorWarning("busy")) == '{"type":"OperatorWarning","text":"busy"}'


@pytest.mark.parametrize(
    "notice", [FunctionReloaded("app.handler", "", "shop", "1"), OperatorWarning("x", "shop", "1")]
)
def test_a_notice_of_a_function_names_it(notice: FunctionReloaded | OperatorWarning) -> None:
    found = members(json_line(notice))

    assert (found["function"], found["version"]) == ("shop", "1")


def test_bytes_that_are_not_utf_8_are_shown() -> None:
    found = members(json_line(served(asked=request(raw_path=b"/\xff", query_string=b"\xfe=1"))))

    assert (found["path"], found["query"]) == ("/\\xff", "\\xfe=1")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_shown(text: str) -> None:
    found = members(json_line(served(forwarded=forwarding(log=text))))

    assert found["log"] == text.encode("utf-8", "backslashreplace").decode()
    assert found["status"] == 200


def test_a_terminal_only_shows_it() -> None:
    line = json_line(OperatorWarning("\x1b[2J\x7f\x9b2J é"))

    assert line == '{"type":"OperatorWarning","text":"\\u001b[2J\\u007f\\u009b2J é"}'
    assert members(line)["text"] == "\x1b[2J\x7f\x9b2J é"


@given(log=st.text(), method=st.text(), path=st.binary(), query=st.binary())
def test_whatever_comes_is_one_line(*, log: str, method: str, path: bytes, query: bytes) -> None:
    asked = request(method=method, raw_path=path, query_string=query)

    line = json_line(served(asked=asked, forwarded=forwarding(log=log)))
    assert all(ord(character) >= 32 and not 127 <= ord(character) < 160 for character in line)
    assert members(line)["type"] == "RequestServed"


def test_an_invocation_is_told_by_its_request() -> None:
    assert json_line(invocation_reported("hello")) == json_line(init_started()) == ""
    assert json_line(init_reported()) == ""


def test_an_init_phase_that_failed_or_printed() -> None:
    failed = init_reported(status="error", error_type="Runtime.ExitError")
    printed = init_reported(entries=[LogEntry(0.0, "one"), LogEntry(0.0, "two")])

    assert json_line(failed) == (
        '{"type":"InitReported","time":"2026-10-08T07:30:28.168000Z","function":"shop","version":"$LATEST",'
        '"log_stream":"2026/10/08/[$LATEST]22be53a8cfde4e68b844f8ec293b2543","phase":"init",'
        '"status":"error","error_type":"Runtime.ExitError","init_ms":463.512,"log":""}'
    )
    assert members(json_line(printed))["log"] == "one\ntwo\n"


def test_nothing_in_a_line_drives_a_terminal_or_ends_the_line() -> None:
    told = "\x1b\r\x85\x9b\u202e\u2066\u2028\u2029"
    line = object_line({"text": told})

    assert members(line) == {"text": told}
    assert line.isascii()
    assert line.isprintable()

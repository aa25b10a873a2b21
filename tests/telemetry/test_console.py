"""The console in its two formats, down to a stream."""

import io
import json

from gateway.core.notices import OperatorWarning
from gateway.telemetry.console import Console
from gateway.telemetry.writer import LineWriter
from tests.core.reported import invocation_reported
from tests.telemetry.served import Lines, forwarding, served


def test_text_reaches_the_stream() -> None:
    stream = io.StringIO()
    with LineWriter(stream) as writer:
        console = Console(writer, is_colored=False, log_format="text")
        console.emit(served(forwarded=forwarding(log="hello\n")))
        console.emit(OperatorWarning("careful"))

    assert stream.getvalue() == (
        "10:11:12 GET    /cart                          200    21.7 ms (handler 21.0 ms)\n"
        "    hello\n"
        "careful\n"
    )


def test_colors_are_for_text() -> None:
    lines = Lines()
    Console(lines, is_colored=True, log_format="text").emit(served())

    assert "\x1b[32m200\x1b[0m" in lines.taken[0]


def test_json_is_one_plain_object_a_notice() -> None:
    lines = Lines()
    console = Console(lines, is_colored=True, log_format="json")
    console.emit(served(forwarded=forwarding(log="one\ntwo\n")))
    console.emit(OperatorWarning("careful"))

    found = [json.loads(line) for line in lines.taken]
    assert [members["type"] for members in found] == ["RequestServed", "OperatorWarning"]
    assert found[0]["log"] == "one\ntwo\n"
    assert not any("\x1b" in line for line in lines.taken)


def test_a_notice_without_words_writes_no_line() -> None:
    lines = Lines()
    for log_format in ("text", "json"):
        Console(lines, is_colored=False, log_format=log_format).emit(invocation_reported("x"))

    assert lines.taken == []

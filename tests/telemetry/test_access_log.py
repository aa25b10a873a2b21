"""ALB's access log line: every field by table, and no client can break it."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import Tls
from gateway.core.notices import FunctionReloaded, OperatorWarning, RequestServed
from gateway.telemetry.access_log import AccessLog
from tests.telemetry.served import ARN, ARRIVED_AT, Lines, forwarding, request, served

FIELD = re.compile(r'"[^"]*"|[^ "]+')

# Field numbers of alb.md 4.12.
TYPE, TIME, ELB, CLIENT, TARGET = range(1, 6)
REQUEST_TIME, TARGET_TIME, RESPONSE_TIME, ELB_STATUS, TARGET_STATUS = range(6, 11)
RECEIVED, SENT, REQUEST_LINE, USER_AGENT = range(11, 15)
SSL_CIPHER, SSL_PROTOCOL, ARN_FIELD, TRACE_ID, DOMAIN_NAME = range(15, 20)
PRIORITY, CREATED, ACTIONS, REDIRECT, REASON = range(21, 26)
CLASSIFICATION, CLASSIFICATION_REASON, CONNECTION = range(28, 31)

NOT_CALLED: dict[str, Any] = {"dispatched_at": 0.0, "target_seconds": -1.0, "target_status": 0}


def line(notice: RequestServed, elb: str = "app/edge/50dc6c495c0c9188") -> str:
    """Return the one line that a notice becomes."""
    lines = Lines()
    AccessLog(lines, elb).emit(notice)
    (text,) = lines.taken
    return text


def fields(notice: RequestServed) -> list[str]:
    """Return the fields under their numbers; quotes hold blanks together and are kept."""
    text = line(notice)
    found = FIELD.findall(text)
    assert " ".join(found) == text
    return ["", *found]


def asked(**changes: Any) -> RequestServed:
    """Return a request served, with fields of the request changed."""
    return served(asked=request(**changes))


def forwarded(status: int = 502, seconds: float = 0.021678, **changes: Any) -> RequestServed:
    """Return a request served, with fields of the forward changed."""
    return served(status, forwarded=forwarding(**changes), seconds=seconds)


def test_the_example_of_the_specification() -> None:
    failed = forwarded(502, error_reason="LambdaInvalidResponse", target_status=0)

    assert line(failed) == (
        "http 2026-01-05T10:11:12.345678Z app/edge/50dc6c495c0c9188 198.51.100.7:40111 - "
        '0.000 0.021 0.000 502 - 140 277 "GET http://shop.example.org:80/cart HTTP/1.1" '
        '"curl/8.5.0" - - '
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071 "
        '"Root=1-66f0c1a2-5b1d2c3e4f5061728394a5b6" "-" "-" 0 2026-01-05T10:11:12.324000Z '
        '"forward" "-" "LambdaInvalidResponse" "-" "-" "-" "-" '
        'TID_0123456789abcdef0123456789abcdef "-" "-" "-"'
    )


def test_a_request_that_went_well() -> None:
    assert line(served()) == (
        "http 2026-01-05T10:11:12.345678Z app/edge/50dc6c495c0c9188 198.51.100.7:40111 - "
        '0.000 0.021 0.000 200 200 140 277 "GET http://shop.example.org:80/cart HTTP/1.1" '
        f'"curl/8.5.0" - - {ARN} "Root=1-66f0c1a2-5b1d2c3e4f5061728394a5b6" "-" "-" 0 '
        '2026-01-05T10:11:12.324000Z "forward" "-" "-" "-" "-" "-" "-" '
        'TID_0123456789abcdef0123456789abcdef "-" "-" "-"'
    )


def test_a_request_that_could_not_be_read() -> None:
    """The form of captures: `-1 -1 -1 400 - 0 272 "- http://NAME:80- -" "-" - - - "-"`."""
    unread = request(
        method="", target=b"", http_version="", headers=[], received_bytes=0, trace_id=""
    )
    notice = served(
        400, asked=unread, forwarded=forwarding(target_group_arn="", **NOT_CALLED), seconds=0.0
    )

    assert line(notice) == (
        "http 2026-01-05T10:11:12.324000Z app/edge/50dc6c495c0c9188 198.51.100.7:40111 - "
        '-1 -1 -1 400 - 0 277 "- http://192.0.2.1:80- -" "-" - - - "-" "-" "-" - '
        '2026-01-05T10:11:12.324000Z "-" "-" "-" "-" "-" "-" "-" '
        'TID_0123456789abcdef0123456789abcdef "-" "-" "-"'
    )


def test_the_load_balancer_has_a_name_of_its_own_by_default() -> None:
    lines = Lines()
    AccessLog(lines).emit(served())

    assert lines.taken[0].split()[2] == "app/gateway/0123456789abcdef"


@pytest.mark.parametrize("notice", [FunctionReloaded("app.handler"), OperatorWarning("text")])
def test_other_notices_have_no_line(notice: FunctionReloaded | OperatorWarning) -> None:
    lines = Lines()
    AccessLog(lines).emit(notice)

    assert lines.taken == []


REQUEST_CASES: list[tuple[dict[str, Any], int, str]] = [
    ({"scheme": "https"}, TYPE, "https"),
    ({"scheme": "https", "http_version": "2"}, TYPE, "h2"),
    ({"arrived_at": ARRIVED_AT + 0.0004}, CREATED, "2026-01-05T10:11:12.324000Z"),
    ({"client": ("2001:db8::1", 5000)}, CLIENT, "2001:db8::1:5000"),
    ({"client": ("not an\naddress", 5000)}, CLIENT, "not\\x20an\\x0Aaddress:5000"),
    ({"received_bytes": 1}, RECEIVED, "1"),
    ({"headers": []}, USER_AGENT, '"-"'),
    ({"headers": [(b"user-agent", b"")]}, USER_AGENT, '"-"'),
    ({"headers": [(b"USER-AGENT", b"a b")]}, USER_AGENT, '"a b"'),
    ({"headers": [(b"User-Agent", b"1"), (b"User-Agent", b"2")]}, USER_AGENT, '"2"'),
    ({"headers": [(b"User-Agent", b"x" * 8192)]}, USER_AGENT, f'"{"x" * 8192}"'),
    ({"headers": [(b"User-Agent", b"x" * 8193)]}, USER_AGENT, f'"{"x" * 8192}"'),
    ({"headers": [(b"User-Agent", b'"' * 8193)]}, USER_AGENT, '"' + "\\x22" * 8192 + '"'),
    ({"headers": [(b"User-Agent", b'a"b\\c')]}, USER_AGENT, '"a\\x22b\\x5Cc"'),
    ({"headers": [(b"User-Agent", b"\t\x00\x1f ~\x7f\x80\xff")]}, USER_AGENT,
     '"\\x09\\x00\\x1F ~\\x7F\\x80\\xFF"'),
    ({"headers": [(b"User-Agent", "é".encode())]}, USER_AGENT, '"\\xC3\\xA9"'),
    ({"trace_id": ""}, TRACE_ID, '"-"'),
    ({"trace_id": 'Root=1-"é\ud800'}, TRACE_ID, '"Root=1-\\x22\\xC3\\xA9\\xED\\xA0\\x80"'),
    ({"connection_id": ""}, CONNECTION, "-"),
    ({"connection_id": "ab12"}, CONNECTION, "TID_ab12"),
    ({"classification": ""}, CLASSIFICATION, '"-"'),
    ({"classification": ""}, CLASSIFICATION_REASON, '"-"'),
    ({"classification": "Acceptable SpaceInUri"}, CLASSIFICATION, '"Acceptable"'),
    ({"classification": "Acceptable SpaceInUri"}, CLASSIFICATION_REASON, '"SpaceInUri"'),
    ({"classification": "Severe"}, CLASSIFICATION_REASON, '"-"'),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "number", "expected"), REQUEST_CASES)
def test_what_the_request_says(changes: dict[str, Any], number: int, expected: str) -> None:
    assert fields(asked(**changes))[number] == expected


HOST = b"Host"

REQUEST_LINES: list[tuple[dict[str, Any], str]] = [
    ({"method": "POST"}, "POST http://shop.example.org:80/cart HTTP/1.1"),
    ({"method": 'A"B'}, "A\\x22B http://shop.example.org:80/cart HTTP/1.1"),
    ({"http_version": "1.0"}, "GET http://shop.example.org:80/cart HTTP/1.0"),
    ({"http_version": "2", "scheme": "https"}, "GET https://shop.example.org:80/cart HTTP/2.0"),
    ({"http_version": "1.7"}, "GET http://shop.example.org:80/cart HTTP/1.7"),
    ({"server": ("192.0.2.1", 8443)}, "GET http://shop.example.org:8443/cart HTTP/1.1"),
    ({"headers": [(HOST, b"other:9999")]}, "GET http://other:80/cart HTTP/1.1"),
    ({"headers": [(b"host", b"one"), (HOST, b"two")]}, "GET http://two:80/cart HTTP/1.1"),
    ({"headers": [(HOST, b"[::1]:8080")]}, "GET http://[::1]:80/cart HTTP/1.1"),
    ({"headers": [(HOST, b"[::1]")]}, "GET http://[::1]:80/cart HTTP/1.1"),
    ({"headers": [(HOST, b'a"b')]}, "GET http://a\\x22b:80/cart HTTP/1.1"),
    ({"headers": [(HOST, b"")]}, "GET http://192.0.2.1:80/cart HTTP/1.1"),
    ({"headers": []}, "GET http://192.0.2.1:80/cart HTTP/1.1"),
    ({"headers": [], "server": ("::1", 80)}, "GET http://[::1]:80/cart HTTP/1.1"),
    ({"target": b"/a%2Fb/../c?%20&y"}, "GET http://shop.example.org:80/a%2Fb/../c?%20&y HTTP/1.1"),
    ({"target": b"/?"}, "GET http://shop.example.org:80/? HTTP/1.1"),
    ({"target": b'/?bar="'}, "GET http://shop.example.org:80/?bar=\\x22 HTTP/1.1"),
    ({"target": b"/a b"}, "GET http://shop.example.org:80/a b HTTP/1.1"),
    ({"target": b"/?u=http://other/"}, "GET http://shop.example.org:80/?u=http://other/ HTTP/1.1"),
    ({"target": b"http://other:81/a?b"}, "GET http://other:80/a?b HTTP/1.1"),
    ({"target": b"http://me@other/a@b"}, "GET http://other:80/a@b HTTP/1.1"),
    ({"target": b"http://other?b"}, "GET http://other:80?b HTTP/1.1"),
    ({"target": b"http://other"}, "GET http://other:80/ HTTP/1.1"),
    ({"target": b"*", "method": "OPTIONS"}, "OPTIONS http://shop.example.org:80* HTTP/1.1"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), REQUEST_LINES)
def test_the_request_line(changes: dict[str, Any], expected: str) -> None:
    assert fields(asked(**changes))[REQUEST_LINE] == f'"{expected}"'


def test_a_hidden_head_is_measured_as_it_must_have_been() -> None:
    hidden = request(
        method="POST",
        target=b"/cart?x=1",
        headers=[(b"Host", b"shop.example.org"), (b"Content-Length", b"5")],
        body=b"hello",
        received_bytes=0,
    )
    sent = b"POST /cart?x=1 HTTP/1.1\r\nHost: shop.example.org\r\nContent-Length: 5\r\n\r\nhello"

    assert fields(served(asked=hidden))[RECEIVED] == str(len(sent))


FORWARD_CASES: list[tuple[dict[str, Any], dict[int, str]]] = [
    # The function answered badly.
    ({"error_reason": "LambdaInvalidResponse", "target_status": 0},
     {REQUEST_TIME: "0.000", TARGET_TIME: "0.021", RESPONSE_TIME: "3.979", TARGET_STATUS: "-",
      PRIORITY: "0", ACTIONS: '"forward"', REASON: '"LambdaInvalidResponse"'}),
    # It gave a status, and yet the response failed.
    ({"error_reason": "LambdaResponseTooLarge"}, {TARGET_STATUS: "-"}),
    # It was called and never answered.
    ({"error_reason": "LambdaThrottling", "target_status": 0, "target_seconds": -1.0},
     {REQUEST_TIME: "0.000", TARGET_TIME: "-1", RESPONSE_TIME: "-1", TARGET_STATUS: "-",
      PRIORITY: "0", ACTIONS: '"forward"'}),
    # The target group refused: 413, a WebSocket.
    ({"error_reason": "LambdaRequestTooLarge", **NOT_CALLED},
     {REQUEST_TIME: "-1", TARGET_TIME: "-1", RESPONSE_TIME: "-1", TARGET_STATUS: "-",
      PRIORITY: "0", ACTIONS: '"forward"', ARN_FIELD: ARN, REASON: '"LambdaRequestTooLarge"'}),
    # A rule matched; its target answered, or its target group refused.
    ({"rule_priority": 50000}, {PRIORITY: "50000", ACTIONS: '"forward"'}),
    ({"rule_priority": 7, "error_reason": "LambdaRequestTooLarge", **NOT_CALLED},
     {PRIORITY: "7", ACTIONS: '"forward"'}),
    # The listener refused: 400, 405, 463.
    ({"rule_priority": 7, "target_group_arn": "", **NOT_CALLED},
     {REQUEST_TIME: "-1", TARGET_TIME: "-1", RESPONSE_TIME: "-1", TARGET_STATUS: "-",
      PRIORITY: "-", ACTIONS: '"-"', ARN_FIELD: "-", REASON: '"-"'}),
    # It waited before, and took its time.
    ({"dispatched_at": ARRIVED_AT + 1.25, "target_seconds": 0.5},
     {REQUEST_TIME: "1.250", TARGET_TIME: "0.500", RESPONSE_TIME: "2.250", TARGET_STATUS: "200"}),
    # The clock was set back meanwhile.
    ({"dispatched_at": ARRIVED_AT - 9, "target_seconds": 30.0},
     {REQUEST_TIME: "0.000", TARGET_TIME: "30.000", RESPONSE_TIME: "0.000"}),
    # It took no time at all.
    ({"dispatched_at": ARRIVED_AT, "target_seconds": 0.0},
     {REQUEST_TIME: "0.000", TARGET_TIME: "0.000", RESPONSE_TIME: "4.000"}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), FORWARD_CASES)
def test_what_the_forward_says(changes: dict[str, Any], expected: dict[int, str]) -> None:
    found = fields(forwarded(seconds=4.0, **changes))

    assert {number: found[number] for number in expected} == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target_seconds": -1.0, "target_status": 0}, ["-1", "-1", "-1", "460", "-"]),
        ({}, ["0.000", "0.021", "0.979", "460", "200"]),
        (NOT_CALLED, ["-1", "-1", "-1", "460", "-"]),
    ],
)
def test_a_client_that_left(changes: dict[str, Any], expected: list[str]) -> None:
    found = fields(forwarded(460, seconds=1.0, **changes))

    assert found[REQUEST_TIME : TARGET_STATUS + 1] == expected


@pytest.mark.parametrize(("status", "expected"), [(0, "000"), (200, "200"), (561, "561")])
def test_a_status_has_three_digits(status: int, expected: str) -> None:
    assert fields(served(status))[ELB_STATUS] == expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [("shop.example.org", '"shop.example.org"'), ("", '"-"'), ('a" "b', '"a\\x22 \\x22b"')],
)
def test_what_the_tls_handshake_came_to(name: str, shown: str) -> None:
    tls = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", name)
    found = fields(asked(tls=tls, scheme="https", http_version="2"))

    assert found[TYPE] == "h2"
    assert found[SSL_CIPHER] == "TLS_AES_128_GCM_SHA256"
    assert found[SSL_PROTOCOL] == "TLSv1.3"
    assert found[DOMAIN_NAME] == shown
    assert found[REQUEST_LINE].endswith('HTTP/2.0"')


def test_what_a_lambda_target_and_a_plain_listener_never_have() -> None:
    found = fields(served())

    assert found[TARGET] == found[15] == found[16] == "-"
    assert {found[number] for number in (DOMAIN_NAME, 20, REDIRECT, 26, 27, 31, 32, 33)} == {'"-"'}
    assert (found[ELB], found[SENT]) == ("app/edge/50dc6c495c0c9188", "277")
    assert found[TIME] == "2026-01-05T10:11:12.345678Z"


HEADER_NAMES = st.sampled_from([b"Host", b"user-agent", b"X-Amzn-Trace-Id"]) | st.binary()


@given(
    method=st.binary().map(lambda value: value.decode("latin-1")) | st.text(),
    target=st.binary(),
    headers=st.lists(st.tuples(HEADER_NAMES, st.binary())),
    trace_id=st.text(),
    client=st.text(),
    version=st.sampled_from(["1.1", "2"]) | st.text(),
)
def test_whatever_a_client_sends_is_one_line_of_33_fields(
    *,
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    trace_id: str,
    client: str,
    version: str,
) -> None:
    notice = asked(
        method=method,
        target=target,
        headers=headers,
        trace_id=trace_id,
        client=(client, 1),
        http_version=version,
        received_bytes=0,
    )

    found = fields(notice)[1:]
    assert len(found) == 33
    assert found[29:] == ["TID_0123456789abcdef0123456789abcdef", '"-"', '"-"', '"-"']
    assert all(field.isascii() and field.isprintable() for field in found)


@given(st.binary(max_size=8192))
def test_a_user_agent_can_be_read_back(agent: bytes) -> None:
    notice = asked(headers=[(b"User-Agent", agent)])

    written = fields(notice)[USER_AGENT].strip('"')
    read = re.sub(r"\\x([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), written)
    assert read.encode("latin-1") == (agent or b"-")

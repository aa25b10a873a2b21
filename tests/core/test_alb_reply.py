"""The response, or the refusal, of every golden reply; what no reply at all can make it do."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.alb_reply import (
    REPLY_LIMIT,
    RESPONSE_HEADERS_LIMIT,
    decode_reply,
    described,
    known_name,
)
from gateway.core.errors import BadFunctionResponse, ResponseTooLarge
from gateway.core.http import HttpResponse, wire_headers
from gateway.core.outcomes import outcome
from gateway.core.pages import Pages
from tests.conftest import Golden
from tests.core.test_alb import attributes
from tests.golden import Case, cases, expanded, shown

DATE = b"Wed, 30 Dec 2020 08:27:16 GMT"


def payload(case: Case) -> bytes:
    if case.option("payload_base64"):
        return base64.b64decode(case.option("payload_base64"))
    return expanded(case.input.removesuffix("\n")).encode()


def decoded(case: Case) -> HttpResponse:
    response = decode_reply(
        payload(case),
        multi_value=case.option("mode", "single") == "multi",
        is_head=case.option("method", "GET") == "HEAD",
        faithful=case.option("faithful") == "true",
    )
    return Pages(attributes(case)).completed(response)


def head(response: HttpResponse, connection: bytes = b"keep-alive") -> str:
    lines = [f"HTTP/1.1 {response.status} {response.reason}".encode()]
    headers = wire_headers(response, date=DATE, connection=connection)
    lines += [name + b": " + value for name, value in headers]
    return b"\n".join([*lines, b"", b""]).decode()


def answered(case: Case) -> str:
    try:
        response = decoded(case)
    except BadFunctionResponse as error:
        return f"error: {outcome(error)[1]}\nfield: {error.field}\n"
    return head(response) + shown(response.body)


@pytest.mark.parametrize("case", cases("reply"), ids=lambda case: case.name)
def test_golden_reply(case: Case, check_golden: Golden) -> None:
    check_golden(case, answered(case))


def refused(reply: Any, *, multi_value: bool = False) -> BadFunctionResponse:
    with pytest.raises(BadFunctionResponse) as caught:
        decode_reply(json.dumps(reply).encode(), multi_value=multi_value)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ([], "payload is array []; must be an object with a statusCode"),
        ({}, "statusCode is missing; must be an integer"),
        ({"statusCode": None}, "statusCode is null; must be an integer"),
        ({"statusCode": "200"}, "statusCode is string '200'; must be an integer"),
        ({"statusCode": 200.0}, "statusCode is number 200.0; must be an integer"),
        ({"statusCode": True}, "statusCode is boolean True; must be an integer"),
        ({"statusCode": 99}, "statusCode is number 99; must be between 200 and 599"),
        (
            {"statusCode": 200, "statusDescription": 200},
            'statusDescription is number 200; must be a string such as "200 OK"',
        ),
        (
            {"statusCode": 200, "statusDescription": "a\nb"},
            "statusDescription is string 'a\\nb'; must not hold control characters",
        ),
        (
            {"statusCode": 200, "headers": None},
            "headers is null; must be an object, or be left out",
        ),
        (
            {"statusCode": 200, "headers": {"X-A": {"b": 1}}},
            "headers.X-A is object {'b': 1}; must be a string",
        ),
        (
            {"statusCode": 200, "headers": {"X A": "1"}},
            "headers.X A is string 'X A'; a header name must be an RFC 9110 token",
        ),
        (
            {"statusCode": 200, "headers": {"X-A": "1\r\n"}},
            "headers.X-A is string '1\\r\\n'; a header value must not hold control characters",
        ),
        (
            {"statusCode": 200, "isBase64Encoded": 1},
            "isBase64Encoded is number 1; must be true or false",
        ),
        (
            {"statusCode": 200, "body": {"a": 1}},
            "body is object {'a': 1}; must be a string, or be left out",
        ),
    ],
)
def test_refusal_says_field_value_and_rule(reply: Any, text: str) -> None:
    assert str(refused(reply)) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            "1",
            "multiValueHeaders.X-A is string '1'; must be an array of strings in multi-value mode",
        ),
        (["1", 2], "multiValueHeaders.X-A[1] is number 2; must be a string"),
        (
            ["1", "\0"],
            "multiValueHeaders.X-A[1] is string '\\x00'; "
            "a header value must not hold control characters",
        ),
    ],
)
def test_refusal_names_the_element_of_a_multi_value_header(values: Any, text: str) -> None:
    refusal = refused({"statusCode": 200, "multiValueHeaders": {"X-A": values}}, multi_value=True)

    assert str(refusal) == text


def test_text_of_the_base64_rule_says_what_is_wrong() -> None:
    refusal = refused({"statusCode": 200, "body": "aGVs\nbG8=", "isBase64Encoded": True})

    assert refusal.found == "string 'aGVs\\nbG8='"
    assert refusal.rule.startswith("must be base64 without line breaks: ")


def test_text_of_a_payload_that_is_not_json_says_where() -> None:
    with pytest.raises(BadFunctionResponse, match=r"payload is not JSON; .*line 1 column 2"):
        decode_reply(b"{", multi_value=False)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("X\nA", "headers.X\\nA"),
        ("X\x1b[31m", "headers.X\\x1b[31m"),
        ("X\u2028A", "headers.X\\u2028A"),
        ("X Größe", "headers.X Größe"),
    ],
)
def test_refusal_stays_one_printable_line_whatever_the_header_name(name: str, field: str) -> None:
    for value in ("1", 1):
        refusal = refused({"statusCode": 200, "headers": {name: value}})

        assert refusal.field == field
        assert str(refusal).isprintable()


def test_refusal_stays_short_whatever_the_header_name() -> None:
    for length, shown_field in (
        (112, f"headers.{112 * 'x'}"),
        (113, f"headers.{112 * 'x'}..."),
        (100_000, f"headers.{112 * 'x'}..."),
    ):
        assert refused({"statusCode": 200, "headers": {length * "x": 1}}).field == shown_field


def test_long_value_is_shown_by_its_beginning() -> None:
    assert described(58 * "x") == f"string '{58 * 'x'}'"
    assert described(59 * "x") == f"string '{59 * 'x'}..."


@pytest.mark.parametrize("depth", [100, 990, 1000, 1020, 1024, 100_000])
def test_reply_nested_deeply_is_refused_at_any_depth(depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = depth * opening + "1" + depth * closing

        with pytest.raises(BadFunctionResponse):
            decode_reply(f'{{"statusCode":200,"body":{nested}}}'.encode(), multi_value=False)


def test_value_nested_more_deeply_than_the_stack_is_not_shown() -> None:
    nested = f'{{"statusCode":200,"body":{1020 * "["}{1020 * "]"}}}'.encode()

    with pytest.raises(BadFunctionResponse) as caught:
        decode_reply(nested, multi_value=False)

    assert caught.value.found == "array nested too deeply to show"


def test_reply_of_1_mb_is_the_largest_that_passes() -> None:
    frame = len(json.dumps({"statusCode": 200, "body": ""}))

    def sized(size: int) -> bytes:
        return json.dumps({"statusCode": 200, "body": (size - frame) * "x"}).encode()

    for size in (REPLY_LIMIT - 1, REPLY_LIMIT):
        assert len(decode_reply(sized(size), multi_value=False).body) == size - frame
    with pytest.raises(ResponseTooLarge) as caught:
        decode_reply(sized(REPLY_LIMIT + 1), multi_value=False)
    assert str(caught.value) == (
        "payload is 1048577 bytes of JSON; ALB takes up to 1048576 from Lambda"
    )


@pytest.mark.parametrize("lines", [1, 2, 31])
def test_response_headers_of_32_k_are_the_largest_that_pass(lines: int) -> None:
    def sized(size: int) -> bytes:
        """Spread `size` bytes over the lines, each counting `X-10`, `: ` and CRLF: 8 bytes."""
        values = ["x" for _ in range(lines - 1)]
        values.append((size - sum(8 + len(value) for value in values) - 8) * "x")
        headers = {f"X-{10 + index}": value for index, value in enumerate(values)}
        return json.dumps({"statusCode": 200, "headers": headers}).encode()

    for size in (RESPONSE_HEADERS_LIMIT - 1, RESPONSE_HEADERS_LIMIT):
        response = decode_reply(sized(size), multi_value=False)
        added = response.headers[response.leading :]
        assert sum(len(name) + len(value) + 4 for name, value in added) == size
    with pytest.raises(BadFunctionResponse) as caught:
        decode_reply(sized(RESPONSE_HEADERS_LIMIT + 1), multi_value=False)
    assert str(caught.value) == "headers is 32769 bytes; ALB takes up to 32768 bytes of headers"


def test_headers_over_32_k_name_the_map_of_the_mode() -> None:
    refusal = refused(
        {"statusCode": 200, "multiValueHeaders": {"X-A": [40_000 * "x"]}}, multi_value=True
    )

    assert refusal.field == "multiValueHeaders"


@pytest.mark.parametrize("description", ["a\tb", "a\u2028b", "200 K\xe4se"])
def test_description_may_hold_what_is_neither_control_nor_ascii(description: str) -> None:
    reply = json.dumps({"statusCode": 200, "statusDescription": description}).encode()

    assert decode_reply(reply, multi_value=False).reason == description.removeprefix("200 ")


def test_description_that_is_only_the_code_of_an_unknown_status_leaves_no_reason() -> None:
    for description in ("299", "299 "):
        reply = json.dumps({"statusCode": 299, "statusDescription": description}).encode()

        assert decode_reply(reply, multi_value=False).reason == ""


def test_headers_keep_their_order_unless_asked_to_be_faithful() -> None:
    reply = b'{"statusCode":200,"headers":{"X-A":"1","X-B":"2"},"body":"hi"}'

    response = decode_reply(reply, multi_value=False)

    assert (response.headers[3:], response.body) == ([(b"X-A", b"1"), (b"X-B", b"2")], b"hi")


def test_cookie_set_twice_earns_a_hint() -> None:
    cookies = {"Set-Cookie": ["b=2", "a=1; Path=/", "a =3"]}
    reply = json.dumps({"statusCode": 200, "multiValueHeaders": cookies}).encode()

    hint = decode_reply(reply, multi_value=True).hint

    assert hint == (
        "the reply sets cookie 'a' more than once; ALB sends such lines in reverse order, "
        "so clients keep the first: try --faithful"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Set-Cookie": "a=1"},
        {"Set-Cookie": "a=1", "set-cookie": "b=1"},
        {"Set-Cookie": "a=1", "X-Cookie": "a=1"},
    ],
)
def test_different_cookies_earn_no_hint(headers: dict[str, str]) -> None:
    reply = json.dumps({"statusCode": 200, "headers": headers}).encode()

    assert decode_reply(reply, multi_value=False).hint == ""


def test_one_cookie_in_two_spellings_of_the_header_earns_a_hint() -> None:
    reply = b'{"statusCode":200,"headers":{"Set-Cookie":"a=1","set-cookie":"a=2"}}'

    assert "'a' more than once" in decode_reply(reply, multi_value=False).hint


@pytest.mark.parametrize("character", [*range(33), *b'"(),/:;<=>?@[\\]{}', 0x7F, 0xE9, 0x212A])
def test_separators_and_controls_are_not_in_a_token(character: int) -> None:
    assert known_name(f"X{chr(character)}") is None


# From here on: replies that no user would write.

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NASTY = st.text(st.sampled_from('aA-: \t\r\n\0\x7f\x85\u2028é"'), max_size=6)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6) | NASTY
OWN = ["Content-Length", "content-length", "Content-Type", "Server", "Date", "Connection"]
NAMES = st.sampled_from([*OWN, "Transfer-Encoding", "Set-Cookie", "X-A", "x-a"])
VALUES = st.sampled_from(["", "0", "5", "99", "+5", "a=1", "\u0665"]) | ANY_TEXT
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
REPLIES = st.fixed_dictionaries(
    {"statusCode": st.sampled_from([200, 204, 205, 299, 304, 502, 599]) | st.integers(190, 610)},
    optional={
        "statusDescription": st.sampled_from(["200 OK", "200", "Fine"]) | ANY_TEXT,
        "headers": st.dictionaries(NAMES | NASTY, VALUES, max_size=4),
        "multiValueHeaders": st.dictionaries(NAMES | NASTY, st.lists(VALUES, max_size=3)),
        "body": st.sampled_from(["", "hello", "aGVsbG8=", "aGVsbG8"]) | ANY_TEXT,
        "isBase64Encoded": st.booleans(),
    },
)
FIELDS = ["statusCode", "statusDescription", "headers", "multiValueHeaders", "body"]
MODES = st.fixed_dictionaries(
    {"multi_value": st.booleans(), "is_head": st.booleans(), "faithful": st.booleans()}
)


def check(reply: bytes, mode: dict[str, bool]) -> None:
    """Decode; either a refusal in one printable line, or a response no client can misread."""
    try:
        response = decode_reply(reply, **mode)
    except BadFunctionResponse as error:
        refusal = str(error)
    else:
        check_response(response, is_head=mode["is_head"])
        return

    assert refusal.isprintable()


def check_response(response: HttpResponse, *, is_head: bool) -> None:
    lines = wire_headers(response, date=DATE, connection=b"close")
    names = [name.lower() for name, _ in lines]
    lengths = [value for name, value in lines if name.lower() == b"content-length"]

    assert all(TOKEN.fullmatch(name) for name, _ in lines)
    assert not re.search(rb"[\r\n\0]", b"".join(value for _, value in lines))
    assert not re.search(r"[\r\n\0]", response.reason)
    assert [names.count(name) for name in (b"server", b"connection")] == [1, 1]
    assert b"transfer-encoding" not in names
    assert len(lengths) == (response.status not in {204, 304})
    if response.status == 205:
        assert lengths == [b"0"]
    if is_head or not lengths:
        assert response.body == b""
    else:
        assert int(lengths[0]) == len(response.body)


@given(st.binary(max_size=200), MODES)
def test_any_bytes_are_served_safely_or_refused(reply: bytes, mode: dict[str, bool]) -> None:
    check(reply, mode)


@given(JSON, MODES)
def test_any_json_is_served_safely_or_refused(reply: Any, mode: dict[str, bool]) -> None:
    check(json.dumps(reply).encode(), mode)


@given(REPLIES, MODES)
def test_any_reply_is_served_safely_or_refused(
    reply: dict[str, Any], mode: dict[str, bool]
) -> None:
    check(json.dumps(reply).encode(), mode)


@given(REPLIES, st.sampled_from(FIELDS), JSON, MODES)
def test_reply_with_one_field_wrong_is_served_safely_or_refused(
    reply: dict[str, Any], field: str, value: Any, mode: dict[str, bool]
) -> None:
    check(json.dumps(reply | {field: value}).encode(), mode)


@given(REPLIES, st.integers(0, 300), st.integers(0, 3), st.binary(max_size=3), MODES)
def test_reply_with_bytes_exchanged_is_served_safely_or_refused(
    reply: dict[str, Any], at: int, length: int, inserted: bytes, mode: dict[str, bool]
) -> None:
    text = json.dumps(reply).encode()

    check(text[:at] + inserted + text[at + length :], mode)


@given(REPLIES, MODES)
def test_body_of_a_head_reply_is_never_sent_but_counted(
    reply: dict[str, Any], mode: dict[str, bool]
) -> None:
    text = json.dumps(reply).encode()
    try:
        whole = decode_reply(text, **(mode | {"is_head": False}))
    except BadFunctionResponse:
        return

    response = decode_reply(text, **(mode | {"is_head": True}))

    assert response.body == b""
    if whole.body:
        assert response.headers == whole.headers

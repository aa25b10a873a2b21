"""Events and results: whatever awslambdaric does with the same value is what ours has to do."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from awslambdaric.lambda_runtime_exception import FaultException
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runtime.child import marshaller
from gateway.runtime.child.marshaller import Fault, marshal, unmarshal
from tests.runtime.oracle import AWS, by_aws
from tests.runtime.results import ALMOST_REPLIES, REPLIES, VALUES, Level, Point, nested


def by_us(result: Any, *, ensure_ascii: bool) -> object:
    try:
        return marshal(result, ensure_ascii=ensure_ascii)
    except Fault as fault:
        return fault.error_type, fault.message
    except SystemExit:
        return "the process ends"


def ids(table: dict[str, Any]) -> dict[str, Any]:
    return {"argvalues": list(table.values()), "ids": list(table)}


@pytest.mark.parametrize("ensure_ascii", [True, False], ids=["escaped", "as is"])
class TestResult:
    @pytest.mark.parametrize("result", **ids(VALUES | ALMOST_REPLIES))
    def test_any_value_is_written_or_refused_as_by_aws(
        self, result: Any, ensure_ascii: bool
    ) -> None:
        expected = by_aws(result, ensure_ascii=ensure_ascii)

        assert by_us(result, ensure_ascii=ensure_ascii) == expected

    @pytest.mark.parametrize("result", **ids(REPLIES))
    def test_a_plain_reply_means_what_it_means_by_aws(
        self, result: Any, ensure_ascii: bool
    ) -> None:
        expected = by_aws(result, ensure_ascii=ensure_ascii)
        payload = marshal(result, ensure_ascii=ensure_ascii)

        assert isinstance(expected, bytes)
        assert json.loads(payload) == json.loads(expected)
        assert payload.isascii() or not ensure_ascii

    @pytest.mark.parametrize("result", **ids(REPLIES | ALMOST_REPLIES))
    def test_without_orjson_a_reply_is_written_as_by_aws(
        self, result: Any, ensure_ascii: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(marshaller, "orjson", None)
        expected = by_aws(result, ensure_ascii=ensure_ascii)

        assert by_us(result, ensure_ascii=ensure_ascii) == expected


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_bottomless_result_is_refused(ensure_ascii: bool) -> None:
    refusal = by_us(nested(200_000), ensure_ascii=ensure_ascii)

    # AWS's text since Python 3.14 tells of kilobytes of stack; until then it is this one.
    text = "maximum recursion depth exceeded while encoding a JSON object"
    assert refusal == ("Runtime.MarshalError", f"Unable to marshal response: {text}")
    assert by_aws(nested(200_000), ensure_ascii=ensure_ascii)[0] == refusal[0]


def test_a_plain_reply_is_compact() -> None:
    assert marshal({"statusCode": 200, "body": "x"}) == b'{"statusCode":200,"body":"x"}'


KEYS = st.one_of(
    st.text(), st.binary(max_size=3), st.integers(), st.floats(), st.booleans(), st.none()
)
SCALARS = st.one_of(KEYS, st.decimals(), st.characters(categories=["Cs"]), st.just(Level.LOW))
JSON_LIKE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.tuples(inner, inner).map(lambda pair: Point(*pair)),
        st.dictionaries(KEYS, inner),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON_LIKE, st.booleans())
def test_random_values_give_the_bytes_of_aws(result: Any, ensure_ascii: bool) -> None:
    expected = by_aws(result, ensure_ascii=ensure_ascii)

    assert by_us(result, ensure_ascii=ensure_ascii) == expected


ALB = '{"requestContext":{"elb":{}},"body":'
PAYLOADS = [
    *("null", "[1, 2.5, true]", '{"a": {"b": []}}', "12345678901234567890123", "-0", "1e400"),
    *("NaN", "[Infinity]", '{"a": -Infinity}', '"NaN"', "", "  ", "{", "[1,]", '{"a":1,}', "01"),
    *("'a'", '"\\ud800"', '"a\nb"', '"\\x"', '"\\u12"', "1 2", " [1] \r\n", "\ufeff[1]"),
    *("\ufeff\ufeff1", "[" * 100_000, "1" * 5000, '{"a":1,"a":2}', "tru", "{1:2}", "\xa01"),
    *(
        ALB + '""}',
        ALB + '"\\ud83d\\ude00\xe9"}',
        ALB + '"\\ud800"}',
        ALB + '"a\nb"}',
        ALB,
        ALB + "1",
    ),
]


def parsed(parse: Callable[[bytes], Any], payload: bytes) -> str:
    try:
        return repr(parse(payload))
    except FaultException as fault:
        return f"{fault.exception_type}, {fault.msg.partition(': ')[0]}"
    except Fault as fault:
        return f"{fault.error_type}, {fault.message.partition(': ')[0]}"


@pytest.mark.parametrize(
    "payload",
    [text.encode() for text in PAYLOADS] + [b'"\xff"', b'"\xed\xa0\x80"', "1".encode("utf-16")],
    ids=lambda payload: ascii(payload[:40]),
)
def test_an_event_is_read_or_refused_as_by_aws(payload: bytes) -> None:
    assert parsed(unmarshal, payload) == parsed(AWS[True].unmarshal_request, payload)


@settings(deadline=None)
@given(st.text('[]{}",:\\u0123dD8aeEfN.-+ \n\ufeff') | st.text() | JSON_LIKE.map(repr))
def test_random_text_is_read_or_refused_as_by_aws(text: str) -> None:
    payload = text.encode(errors="replace")

    assert parsed(unmarshal, payload) == parsed(AWS[True].unmarshal_request, payload)


def test_a_refused_event_names_the_reason() -> None:
    with pytest.raises(Fault) as refusal:
        unmarshal(b"{")

    assert refusal.value.message.startswith("Unable to unmarshal input: Expecting property name")


def test_an_alb_event_needs_no_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marshaller, "orjson", None)

    assert unmarshal(ALB.encode() + b'"x"}')["body"] == "x"

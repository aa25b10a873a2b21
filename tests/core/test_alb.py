"""The event of every golden request, what any request becomes, and the refusals of the listener."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.alb import (
    AlbCodec,
)
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import (
    BadRequestContent,
)
from gateway.core.http import HttpRequest, Tls
from gateway.core.listener import ListenerAddress, listener_address
from gateway.core.tracing import trace_header
from tests.conftest import Golden
from tests.core.alb_requests import asked
from tests.golden import Case, cases

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"


DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"


ESCAPED = re.compile(rb"\\x([0-9A-Fa-f]{2})")


def attributes(case: Case) -> Attributes:
    found = Attributes(multi_value_headers=case.option("mode", "single") == "multi")
    for setting in case.options.get("attribute", []):
        found = with_attribute(found, setting)
    return found


def unescaped(line: bytes) -> bytes:
    return ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), line)


def request(case: Case) -> HttpRequest:
    head, _, body = case.input.encode().partition(b"\n\n")
    first, *lines = [unescaped(line) for line in head.strip(b"\n").split(b"\n")]
    method, target, version = first.split(b" ", 2)
    path = re.sub(rb"^https?://[^/?#]*", b"", target)
    raw_path, _, query = path.partition(b"?")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name, value.strip(b" \t")))
    client, _, port = case.option("client", "198.51.100.7:40111").rpartition(":")
    return HttpRequest(
        method.decode(),
        target,
        raw_path or b"/",
        query,
        headers,
        base64.b64decode(case.option("body_base64")) or body.removesuffix(b"\n"),
        client=(client.strip("[]"), int(port)),
        http_version=version.decode().removeprefix("HTTP/"),
    )


def codec(case: Case) -> AlbCodec:
    scheme, port = case.option("listener", "http 80").split()
    seen_as = ListenerAddress(scheme, int(port), DNS_NAME)
    if case.option("as"):
        seen_as = listener_address(case.option("as"))
    return AlbCodec(ARN, seen_as, attributes(case))


def encoded(case: Case) -> str:
    asked = request(case)
    now = float(case.option("now", "1727054242"))
    draw = case.option("draw", "5b1d2c3e4f5061728394a5b6")
    asked.trace_id = trace_header(asked.headers, now=now, draw=draw)
    try:
        payload = codec(case).encode(asked)
    except BadRequestContent:
        return "error: LambdaBadRequest\n"
    return json.dumps(json.loads(payload), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", cases("event"), ids=lambda case: case.name)
def test_golden_event(case: Case, check_golden: Golden) -> None:
    check_golden(case, encoded(case))


def bridge(setting: str = "", *, port: int = 80, multi: bool = False) -> AlbCodec:
    """Return a codec with at most one attribute beside the mode."""
    chosen = Attributes(multi_value_headers=multi)
    if setting:
        chosen = with_attribute(chosen, setting)
    return AlbCodec(ARN, ListenerAddress("http", port, DNS_NAME), chosen)


def headers_of(codec: AlbCodec, request: HttpRequest) -> dict[str, Any]:
    """Return the headers of the event, the last value of each."""
    event = json.loads(codec.encode(request))
    if "headers" in event:
        return event["headers"]
    return {name: values[-1] for name, values in event["multiValueHeaders"].items()}


def test_event_is_compact_json_in_the_order_of_captures() -> None:
    payload = bridge().encode(asked(query_string=b"b=2&a=1"))

    assert payload.startswith(b'{"requestContext":{"elb":{"targetGroupArn":"arn:aws:')
    assert list(json.loads(payload)) == [
        "requestContext",
        "httpMethod",
        "path",
        "queryStringParameters",
        "headers",
        "body",
        "isBase64Encoded",
    ]
    assert b'"queryStringParameters":{"a":"1","b":"2"}' in payload


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(("port", "host"), [(80, DNS_NAME), (8080, f"{DNS_NAME}:8080")])
def test_empty_host_becomes_the_name_of_the_load_balancer(
    port: int, host: str, *, multi: bool
) -> None:
    codec = bridge(port=port, multi=multi)

    assert headers_of(codec, asked([(b"Host", b"")]))["host"] == host


def test_header_names_are_lower_cased_as_ascii() -> None:
    headers = [("COO\u212aIE".encode(), b"a=1")]  # a KELVIN SIGN, whose lower case is a plain k

    assert "cookie" not in headers_of(bridge(), asked(headers))


def test_refusal_of_content_says_which_byte_is_not_utf_8() -> None:
    with pytest.raises(BadRequestContent) as caught:
        bridge().encode(asked(raw_path=b"/a\xff"))

    assert str(caught.value) == (
        "not UTF-8 in the request: 'utf-8' codec can't decode byte 0xff in position 2: "
        "invalid start byte"
    )


def test_request_is_left_as_it_was() -> None:
    headers = [(b"Cookie", b"a=1"), (b"X-Forwarded-For", b"192.0.2.1"), (b"Expect", b"x")]
    request = asked(list(headers), http_version="2")

    bridge("routing.http.xff_header_processing.mode=remove").encode(request)

    assert request == asked(headers, http_version="2")


def test_http_2_cookie_crumbs_are_joined_in_order() -> None:
    crumbs = [(b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2")]
    request = asked(crumbs, http_version="2")

    single = json.loads(bridge().encode(request))["headers"]
    multi = json.loads(bridge(multi=True).encode(request))["multiValueHeaders"]

    assert (single["cookie"], single["x-a"]) == ("a=1; b=2", "1")
    assert (multi["cookie"], multi["x-a"]) == (["a=1; b=2"], ["1"])


def test_http_2_request_without_cookies_gets_none() -> None:
    assert "cookie" not in headers_of(bridge(), asked(http_version="2"))


def test_user_information_never_reaches_the_host() -> None:
    request = asked(target=b"http://user:secret@shop.example.org/")

    assert headers_of(bridge(), request)["host"] == "shop.example.org"


@pytest.mark.parametrize("target", [b"/http://evil.example/", b"/?next=http://evil.example/"])
def test_url_inside_path_or_query_never_becomes_the_host(target: bytes) -> None:
    request = asked([(b"Host", b"shop.example.org")], target=target)

    assert headers_of(bridge(), request)["host"] == "shop.example.org"


def test_asterisk_form_keeps_the_host_header() -> None:
    request = asked([(b"Host", b"a.example")], method="OPTIONS", target=b"*", raw_path=b"*")

    assert headers_of(bridge(), request)["host"] == "a.example"


def test_empty_forwarded_for_line_adds_no_empty_address() -> None:
    headers = [(b"X-Forwarded-For", b""), (b"x-forwarded-for", b"192.0.2.1")]

    assert headers_of(bridge(), asked(headers))["x-forwarded-for"] == "192.0.2.1, 127.0.0.1"


def test_decode_follows_method_and_mode_of_its_target_group() -> None:
    reply = b'{"statusCode":200,"headers":{"X-A":"1"},"body":"hi"}'

    single = bridge().decode(reply, asked(method="HEAD"))
    multi = bridge(multi=True).decode(reply, asked())

    assert (single.headers[-1], single.body) == ((b"X-A", b"1"), b"")
    assert (multi.headers[-1], multi.body) == ((b"Content-Length", b"2"), b"hi")


def test_decode_reverses_headers_only_when_faithful() -> None:
    reply = b'{"statusCode":200,"headers":{"X-A":"1","X-B":"2"}}'
    listener = ListenerAddress("http", 80, DNS_NAME)

    plain = AlbCodec(ARN, listener).decode(reply, asked())
    faithful = AlbCodec(ARN, listener, faithful=True).decode(reply, asked())

    assert plain.headers[3:] == [(b"X-A", b"1"), (b"X-B", b"2")]
    assert faithful.headers[3:] == [(b"X-B", b"2"), (b"X-A", b"1")]


# From here on: any request at all.

OWN = {"host", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"}


DROPPED = {"expect", "transfer-encoding"}


COMMON = {"requestContext", "httpMethod", "path", "body", "isBase64Encoded"}


MAPS = {
    False: ("queryStringParameters", "headers"),
    True: ("multiValueQueryStringParameters", "multiValueHeaders"),
}


TEXT_TYPES = ["text/plain", "TEXT/x; charset=latin-1", "application/json", "application/xml ;a"]


BINARY_TYPES = [None, "", "image/png", "application/x-www-form-urlencoded", "application/a+json"]


METHODS = st.text(st.sampled_from("!#$%&'*+-.^_`|~GETpost09"), min_size=1, max_size=8)


ANY_TEXT = st.text(max_size=8)


ANY_BYTES = st.binary(max_size=12)


QUERY = st.lists(
    st.tuples(
        st.sampled_from(["a", "A", "a%62", "", "a[]"])
        | st.text(st.characters(codec="utf-8", exclude_characters="&=")),
        st.sampled_from(["", "1", "%ZZ", "b=c", "x+y"])
        | st.text(st.characters(codec="utf-8", exclude_characters="&")),
    ),
    max_size=5,
)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["X-A", "x-a", "X-B", "Cookie", "Host", "Accept", "_x", "Expect"]),
        st.sampled_from(["", "1", "a, b", "é"]) | ANY_TEXT,
    ),
    max_size=6,
)


RAW_HEADERS = st.lists(
    st.tuples(st.sampled_from([b"X-A", b"X-Amzn-Trace-Id", b"Host"]) | ANY_BYTES, ANY_BYTES),
    max_size=5,
)


def grouped(pairs: list[tuple[str, str]], *, multi: bool) -> dict[str, Any]:
    """Return pairs as a map: every value in order, or the last one."""
    if not multi:
        return dict(pairs)
    return {key: [value for other, value in pairs if other == key] for key, _ in pairs}


def is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(METHODS, ANY_TEXT, QUERY, HEADERS, st.booleans())
def test_event_keeps_what_the_client_sent(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    multi: bool,
) -> None:
    request = asked(
        [(name.encode(), value.encode()) for name, value in headers],
        method=method,
        raw_path=path.encode(),
        query_string="&".join(f"{key}={value}" for key, value in query).encode(),
    )
    lowered = [(name.lower(), value) for name, value in headers]
    foreign = [pair for pair in lowered if pair[0] not in OWN | DROPPED]

    event = json.loads(bridge(multi=multi).encode(request))

    sent_query, sent_headers = (event.pop(key) for key in MAPS[multi])
    assert set(event) == COMMON
    assert (event["httpMethod"], event["path"]) == (method, path)
    assert sent_query == grouped(query, multi=multi)
    assert list(sent_query) == sorted(sent_query)
    assert list(sent_headers) == sorted(sent_headers)
    assert set(sent_headers) >= OWN
    for name in OWN:
        del sent_headers[name]
    assert sent_headers == grouped(foreign, multi=multi)


@given(st.sampled_from(TEXT_TYPES + BINARY_TYPES), st.booleans(), st.binary(), st.booleans())
def test_body_comes_back_from_event_and_reply(
    content_type: str | None, is_encoded: bool, body: bytes, multi: bool
) -> None:
    is_text = content_type in TEXT_TYPES and not is_encoded
    assume(is_utf8(body) or not is_text)
    headers = [] if content_type is None else [(b"Content-Type", content_type.encode())]
    headers += [(b"Content-Encoding", b"gzip")] if is_encoded else []
    codec = bridge(multi=multi)
    request = asked(headers, method="POST", body=body)

    event = json.loads(codec.encode(request))
    echo = {"statusCode": 200} | {key: event[key] for key in ("body", "isBase64Encoded")}
    response = codec.decode(json.dumps(echo).encode(), request)

    assert response.body == body
    assert event["isBase64Encoded"] is not (is_text or (not headers and not body))


@given(
    st.builds(asked, RAW_HEADERS, raw_path=ANY_BYTES, query_string=ANY_BYTES, body=ANY_BYTES),
    st.sampled_from(TEXT_TYPES + BINARY_TYPES),
    st.booleans(),
)
def test_bytes_that_are_not_utf_8_are_the_only_reason_to_refuse_content(
    request: HttpRequest, content_type: str | None, multi: bool
) -> None:
    if content_type is not None:
        request.headers.append((b"Content-Type", content_type.encode()))
    request.trace_id = trace_header(request.headers, now=0, draw=24 * "0")
    parts = [request.raw_path, request.query_string]
    parts += [part for line in request.headers for part in line]
    parts += [request.body] if content_type in TEXT_TYPES else []

    try:
        payload = bridge(multi=multi).encode(request)
    except BadRequestContent:
        payload = b""

    assert bool(payload) == all(is_utf8(part) for part in parts)
    assert not payload or json.loads(payload)["path"].encode() == request.raw_path


TLS_ATTRIBUTE = "routing.http.x_amzn_tls_version_and_cipher_suite.enabled=true"


SERIAL = "x-amzn-mtls-clientcert-serial-number"


VERIFIED = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", client_certificate=((SERIAL, "03A5B1"),))


@pytest.mark.parametrize("multi", [False, True])
def test_tls_version_and_cipher_are_told_once_the_attribute_is_on(multi: bool) -> None:
    spoofed = asked([(b"X-Amzn-Tls-Version", b"SSLv2")], tls=VERIFIED)

    told = headers_of(bridge(TLS_ATTRIBUTE, multi=multi), spoofed)
    untold = headers_of(bridge(multi=multi), spoofed)

    assert told["x-amzn-tls-version"] == "TLSv1.3"
    assert told["x-amzn-tls-cipher-suite"] == "TLS_AES_128_GCM_SHA256"
    assert untold["x-amzn-tls-version"] == "SSLv2"
    assert "x-amzn-tls-cipher-suite" not in untold


@pytest.mark.parametrize("multi", [False, True])
def test_tls_headers_of_a_plain_connection_are_nobodys(multi: bool) -> None:
    spoofed = asked([(b"x-amzn-tls-version", b"TLSv1.3")])

    assert "x-amzn-tls-version" not in headers_of(bridge(TLS_ATTRIBUTE, multi=multi), spoofed)


@pytest.mark.parametrize("multi", [False, True])
def test_verified_client_certificate_replaces_what_the_client_says_of_one(multi: bool) -> None:
    said = [(SERIAL.upper().encode(), b"FFFF"), (SERIAL.encode(), b"EEEE")]
    said.append((b"X-Amzn-Mtls-Clientcert", b"-----BEGIN"))
    payload = json.loads(bridge(multi=multi).encode(asked(said, tls=VERIFIED)))

    headers = payload["multiValueHeaders" if multi else "headers"]
    assert headers[SERIAL] == (["03A5B1"] if multi else "03A5B1")
    assert "x-amzn-mtls-clientcert" not in headers


def test_client_certificate_headers_pass_where_no_certificate_is_asked_for() -> None:
    tls = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256")

    assert headers_of(bridge(), asked([(SERIAL.encode(), b"FFFF")], tls=tls))[SERIAL] == "FFFF"

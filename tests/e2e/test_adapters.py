"""Real applications behind real adapters: what comes through the gateway is compared with what the
same application answers when it is served straight.

Where the two differ, ALB or the adapter is the cause and DIFFERENCES names it; a difference that
went away fails too.
"""

import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.e2e.conftest import ON_ANOTHER, ON_TWO, ON_TWO_BRIEFLY, Serve
from tests.e2e.serving import APPS, Server, connect

pytestmark = pytest.mark.slow

HOST = "shop.example.org"
LISTENER = ("--as", f"http://{HOST}:80", "--timeout", "30", "--env", "PYTHONHASHSEED=0")
MULTI = "--multi-value-headers"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
FORM_TYPE = "application/x-www-form-urlencoded"
OWN_HEADERS = {"server", "date", "connection", "keep-alive", "transfer-encoding"}
"""Headers that belong to the server and the connection, not to the application."""


@dataclass
class Case:
    """One request."""

    name: str
    target: str
    method: str = "GET"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass
class Answer:
    """What an application answered, as far as it decides that."""

    status: int
    body: bytes
    headers: dict[str, list[str]]


def upload() -> Case:
    boundary = "----boundary"
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\nZoë\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a b.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    body = parts.encode() + PNG + f"\r\n--{boundary}--\r\n".encode()
    kind = ("Content-Type", f"multipart/form-data; boundary={boundary}")
    return Case("multipart upload", "/form", "POST", [kind], body)


def with_body(method: str, kind: str, body: bytes) -> Case:
    return Case(f"{method} {kind}", "/echo", method, [("Content-Type", kind)], body)


CASES = [
    Case("plain", "/echo"),
    Case("query", "/echo?b=2&c=x%20y"),
    Case("query in another order", "/echo?c=3&a=1"),
    Case("query repeated", "/echo?a=1&a=2&b=3"),
    Case("query plus and percent", "/echo?a=1+1&b=%2B%26%3D%25&c=%C3%A9"),
    Case("query without values", "/echo?a&b="),
    Case("query with brackets", "/echo?x[]=1&y%5B%5D=2"),
    Case("query with equals signs", "/echo?a=b=c"),
    Case("query with empty pairs", "/echo?&a=1&&b=2"),
    Case("query not UTF-8", "/echo?a=%FF"),
    Case("query bad escape", "/echo?a=%ZZ"),
    Case("path escaped", "/echo/a%20b/%C3%A9"),
    Case("path with an escaped slash", "/echo/a%2Fb"),
    Case("path with plus", "/echo/a+b"),
    Case("path not UTF-8", "/echo/%FF"),
    Case("header", "/echo", headers=[("X-One", "1"), ("X-Many", "a, b")]),
    Case("header repeated", "/echo", headers=[("X-Many", "a"), ("X-Many", "b")]),
    Case("cookies", "/echo", headers=[("Cookie", "a=1; b=2; c=x%20y")]),
    with_body("POST", "application/json", b'{"a": "\xc3\xa9"}'),
    with_body("PUT", "text/plain; charset=utf-8", "größer".encode()),
    with_body("PATCH", "application/merge-patch+json", b'{"a": null}'),
    with_body("DELETE", "application/octet-stream", bytes(range(256))),
    with_body("POST", FORM_TYPE, b"a=1&a=2&b=x+y%26"),
    Case("POST without body", "/echo", "POST"),
    Case("OPTIONS", "/echo", "OPTIONS"),
    Case("form", "/form", "POST", [("Content-Type", FORM_TYPE)], b"a=1&a=2&b=x+y%26"),
    upload(),
    Case("binary download", "/download"),
    Case("HEAD", "/download", "HEAD"),
    Case("cookies set", "/cookies"),
    Case("reply header repeated", "/repeated"),
    Case("redirect", "/redirect"),
    Case("redirect to a slash", "/slash?a=1"),
    Case("empty reply", "/empty"),
    Case("204", "/no-content", "DELETE"),
    Case("unicode reply", "/unicode"),
    Case("latin-1 reply", "/latin"),
    Case("converted parameter", "/items/7?flag=true"),
    Case("malformed parameter", "/items/seven"),
    Case("404", "/nowhere"),
    Case("405", "/download", "POST"),
    Case("refusal", "/teapot"),
    Case("crash", "/crash"),
]
FASTAPI_CASES = [
    *CASES,
    Case("compressed reply", "/long", headers=[("Accept-Encoding", "gzip")]),
    Case("generated document", "/openapi.json"),
]

SINGLE, BOTH = ("single",), ("single", "multi")


@dataclass(frozen=True)
class Difference:
    """How an answer through the gateway differs, and why it has to."""

    adapters: tuple[str, ...]
    modes: tuple[str, ...]
    cases: tuple[str, ...]
    part: str
    reason: str


DIFFERENCES = [
    Difference(
        ("mangum", "apig-wsgi"),
        BOTH,
        ("query in another order",),
        "body",
        "ALB: events hold query keys in byte order, the order of the request is lost (alb.md 1.3)",
    ),
    Difference(
        ("mangum", "apig-wsgi"),
        SINGLE,
        ("query repeated",),
        "body",
        "ALB: single-value mode keeps the last value of a query key (alb.md 1.3)",
    ),
    Difference(
        ("mangum", "apig-wsgi"),
        SINGLE,
        ("header repeated",),
        "body",
        "ALB: single-value mode keeps the last line of a header (alb.md 1.3)",
    ),
    Difference(
        ("mangum",),
        BOTH,
        ("redirect", "redirect to a slash", "empty reply"),
        "headers",
        "ALB: a reply without Content-Type gets application/octet-stream (alb.md 2.3)",
    ),
    Difference(
        ("apig-wsgi",),
        SINGLE,
        ("cookies set", "reply header repeated"),
        "headers",
        "apig-wsgi: in single-value mode the last of several lines is all it returns; Mangum "
        "spells the name differently for each",
    ),
    Difference(
        ("apig-wsgi",),
        BOTH,
        ("latin-1 reply",),
        "status",
        "apig-wsgi: takes every text/* for UTF-8 and fails, which ALB answers with 502",
    ),
]


def known_difference(adapter: str, mode: str, case: str) -> Difference | None:
    return next(
        (
            known
            for known in DIFFERENCES
            if adapter in known.adapters and mode in known.modes and case in known.cases
        ),
        None,
    )


def first_difference(expected: Answer, came: Answer) -> str:
    """Return the first part that differs; empty when none does."""
    parts = ("status", "body", "headers")
    return next((part for part in parts if getattr(expected, part) != getattr(came, part)), "")


def ask(server: Server, case: Case) -> Answer:
    with closing(connect(server)) as connection:
        connection.putrequest(case.method, case.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", HOST)
        for name, value in case.headers:
            connection.putheader(name, value)
        if case.body:
            connection.putheader("Content-Length", str(len(case.body)))
        connection.endheaders(case.body)
        return answer(connection.getresponse(), is_head=case.method == "HEAD")


def answer(response: http.client.HTTPResponse, *, is_head: bool) -> Answer:
    body = response.read()
    headers: dict[str, list[str]] = {}
    for name, value in response.getheaders():
        headers.setdefault(name.lower(), []).append(value)
    for name in OWN_HEADERS:
        headers.pop(name, None)
    if not is_head:  # where there is a body, its length follows from it
        assert headers.pop("content-length", [str(len(body))]) == [str(len(body))]
    return Answer(response.status, body, headers)


@pytest.fixture(scope="module")
def straight_fastapi() -> Iterator[Server]:
    options = ["--host", "127.0.0.1", "--port", "0", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", *options, "fastapi_app:app"]
    with Server(command, cwd=APPS) as server:
        yield server.wait_until_listening(r"running on (?P<url>http://\S+)", on_stderr=True)


@pytest.fixture(scope="module")
def straight_flask() -> Iterator[Server]:
    with Server([sys.executable, "flask_app.py"], cwd=APPS) as server:
        yield server.wait_until_listening()


def check(straight: Server, through: Server, case: Case, known: Difference | None) -> None:
    expected, came = ask(straight, case), ask(through, case)

    if known:
        assert first_difference(expected, came) == known.part, known.reason
    else:
        assert came == expected


def modes() -> list[object]:
    return [pytest.param([], id="single"), pytest.param([MULTI], id="multi")]


def named(mode: list[str]) -> str:
    return "multi" if mode else "single"


@ON_TWO
@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", FASTAPI_CASES, ids=lambda case: case.name)
def test_fastapi_behind_mangum(
    shared: Serve, straight_fastapi: Server, mode: list[str], case: Case
) -> None:
    through = shared("fastapi_app.handler", *LISTENER, *mode)

    check(straight_fastapi, through, case, known_difference("mangum", named(mode), case.name))


@ON_TWO
@pytest.mark.parametrize("mode", modes())
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_flask_behind_apig_wsgi(
    shared: Serve, straight_flask: Server, mode: list[str], case: Case
) -> None:
    through = shared("flask_app.handler", *LISTENER, *mode)

    check(straight_flask, through, case, known_difference("apig-wsgi", named(mode), case.name))


@ON_ANOTHER
@pytest.mark.parametrize("mode", modes())
def test_fastapi_behind_mangum_takes_an_upload(
    shared: Serve, straight_fastapi: Server, mode: list[str]
) -> None:
    check(straight_fastapi, shared("fastapi_app.handler", *LISTENER, *mode), upload(), None)


@ON_ANOTHER
@pytest.mark.parametrize("mode", modes())
def test_flask_behind_apig_wsgi_takes_an_upload(
    shared: Serve, straight_flask: Server, mode: list[str]
) -> None:
    check(straight_flask, shared("flask_app.handler", *LISTENER, *mode), upload(), None)


def test_every_known_difference_is_about_a_case() -> None:
    names = {case.name for case in FASTAPI_CASES}

    assert {name for known in DIFFERENCES for name in known.cases} <= names


# --- Powertools for AWS Lambda has no other server to compare with ---


@pytest.fixture(scope="module", params=modes())
def powertools(shared: Serve, request: pytest.FixtureRequest) -> Server:
    return shared("powertools_app.handler", *LISTENER, *request.param)


@ON_TWO
def test_powertools_resolves_a_route_to_json(powertools: Server) -> None:
    came = ask(powertools, Case("route", "/items/7"))

    assert (came.status, json.loads(came.body)) == (200, {"number": "7"})
    assert came.headers["content-type"] == ["application/json"]


@ON_TWO
def test_powertools_reads_json_and_chooses_the_status(powertools: Server) -> None:
    kind = [("Content-Type", "application/json")]

    came = ask(powertools, Case("create", "/items", "POST", kind, '{"name": "Zoë"}'.encode()))

    assert (came.status, json.loads(came.body)) == (201, {"created": "Zoë"})


@ON_TWO
def test_powertools_decodes_the_query(powertools: Server) -> None:
    came = ask(powertools, Case("query", "/query?b=x%20y&c=%C3%A9"))

    assert json.loads(came.body) == {"b": ["x y"], "c": ["é"]}


@ON_TWO
def test_powertools_sees_every_value_in_multi_value_mode(shared: Serve) -> None:
    both = [
        ask(shared("powertools_app.handler", *LISTENER, *mode), Case("", "/query?a=1&a=2"))
        for mode in ([], [MULTI])
    ]

    assert [json.loads(came.body) for came in both] == [{"a": ["2"]}, {"a": ["1", "2"]}]


@ON_TWO
def test_powertools_finds_a_header(powertools: Server) -> None:
    came = ask(powertools, Case("header", "/header", headers=[("X-One", "1")]))

    assert json.loads(came.body)["x-one"] in ("1", ["1"])


@ON_TWO_BRIEFLY
def test_powertools_returns_bytes(powertools: Server) -> None:
    came = ask(powertools, Case("image", "/image"))

    assert came.body == bytes(range(256))
    assert came.headers["content-type"] == ["image/png"]


@ON_TWO
def test_powertools_sets_both_cookies_in_multi_value_mode_only(shared: Serve) -> None:
    both = [
        ask(shared("powertools_app.handler", *LISTENER, *mode), Case("", "/cookies"))
        for mode in ([], [MULTI])
    ]

    cookies = [[line.partition(";")[0] for line in came.headers["set-cookie"]] for came in both]
    assert cookies == [["b=2"], ["a=1", "b=2"]]


@ON_TWO
@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/bad", 400, b'{"statusCode":400,"message":"no such size"}'),
        ("/missing", 409, b"missing 'size'"),
        ("/nowhere", 404, b"nothing here"),
    ],
)
def test_powertools_turns_exceptions_into_replies(
    powertools: Server, path: str, status: int, body: bytes
) -> None:
    came = ask(powertools, Case("exception", path))

    assert (came.status, came.body) == (status, body)


@ON_TWO
def test_unhandled_powertools_exception_is_a_502(powertools: Server) -> None:
    assert ask(powertools, Case("crash", "/crash")).status == 502
    powertools.output.wait_for("502 LambdaUnhandled: RuntimeError: out of tea")


@ON_TWO
def test_powertools_logger_finds_the_context(powertools: Server) -> None:
    before = len(powertools.output())
    ask(powertools, Case("log", "/items/8"))

    line = powertools.output.wait_for('"message":"resolving"', after=before).string
    logged = json.loads(line)
    assert logged["function_name"] == "apps"
    assert logged["function_memory_size"] == "128"
    assert len(logged["function_request_id"]) == 36
    assert logged["function_arn"] == "arn:aws:lambda:us-east-1:123456789012:function:apps"

"""The event that a request of curl becomes, by attributes and options of the listener."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import IN_THIS_PROCESS, WITH_AND_WITHOUT_TLS, Serve
from tests.e2e.curl import ECHO, curl
from tests.e2e.serving import ROOT, Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it"),
]


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared(ECHO)


@pytest.fixture(scope="module")
def multi(shared: Serve) -> Server:
    return shared(ECHO, "--multi-value-headers")


@pytest.fixture(scope="module")
def faithful(shared: Serve) -> Server:
    return shared(ECHO, "--multi-value-headers", "--faithful")


@pytest.fixture(scope="module")
def hello(front: list[str]) -> Iterator[Server]:
    with serving("app.handler", *front, code=ROOT / "examples" / "hello") as server:
        yield server


# --- the event ---


def test_event_has_the_keys_of_alb_and_no_others(echo: Server) -> None:
    event = curl("-A", "curl", f"{echo.url}/any/path?x=1&x=2").json()

    trace_id = event["headers"].pop("x-amzn-trace-id")
    assert trace_id.startswith("Root=1-")
    assert event == {
        "requestContext": {
            "elb": {
                "targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012"
                ":targetgroup/apps/d56f6359d240f69e"
            }
        },
        "httpMethod": "GET",
        "path": "/any/path",
        "queryStringParameters": {"x": "2"},
        "headers": {
            "accept": "*/*",
            "host": f"127.0.0.1:{echo.port}",
            "user-agent": "curl",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": str(echo.port),
            "x-forwarded-proto": echo.url.partition(":")[0],
        },
        "body": "",
        "isBase64Encoded": False,
    }


@WITH_AND_WITHOUT_TLS
def test_multi_value_mode_keeps_every_query_value_and_header_line(multi: Server) -> None:
    event = curl("-H", "X-Seen: one", "-H", "X-Seen: two, three", f"{multi.url}/?x=1&x=2&y").json()

    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": [""]}
    assert event["multiValueHeaders"]["x-seen"] == ["one", "two, three"]
    assert not {"headers", "queryStringParameters"} & set(event)


def test_single_value_mode_keeps_the_last(echo: Server) -> None:
    event = curl("-H", "X-Seen: one", "-H", "X-Seen: two", f"{echo.url}/?x=1&x=2").json()

    assert event["queryStringParameters"] == {"x": "2"}
    assert event["headers"]["x-seen"] == "two"


def test_path_and_query_are_not_touched(echo: Server) -> None:
    event = curl("--path-as-is", f"{echo.url}/a%2Fb/../c//d;e?x[]=%20+y&&a=b=c&%2f=%ZZ").json()

    assert event["path"] == "/a%2Fb/../c//d;e"
    assert event["queryStringParameters"] == {"x[]": "%20+y", "a": "b=c", "%2f": "%ZZ"}


def test_trace_id_is_continued(echo: Server) -> None:
    given = "Root=1-67891233-abcdef012345678912345678;CalledFrom=app"

    event = curl("-H", f"X-Amzn-Trace-Id: {given}", echo.url).json()

    self_field, _, rest = event["headers"]["x-amzn-trace-id"].partition(";")
    assert self_field.startswith("Self=1-")
    assert rest == given


@IN_THIS_PROCESS
def test_event_looks_as_if_it_came_through_another_listener(shared: Serve) -> None:
    server = shared(ECHO, "--as", "https://shop.example.org:443")

    headers = curl(f"{server.url}/cart").json()["headers"]

    assert headers["host"] == "shop.example.org"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-port"] == "443"


@IN_THIS_PROCESS
def test_host_that_names_a_domain_is_kept(shared: Serve) -> None:
    server = shared(ECHO, "--as", "https://shop.example.org:443")

    headers = curl("-H", "Host: Other.Example.org:8080", f"{server.url}/cart").json()["headers"]

    assert headers["host"] == "other.example.org"


FORWARDED = ("-H", "X-Forwarded-For: 127.0.0.4, 127.0.0.8")


@IN_THIS_PROCESS
@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("append", (), "127.0.0.1"),
        ("append", FORWARDED, "127.0.0.4, 127.0.0.8, 127.0.0.1"),
        ("preserve", (), None),
        ("preserve", FORWARDED, "127.0.0.4, 127.0.0.8"),
        ("remove", (), None),
        ("remove", FORWARDED, None),
    ],
)
def test_forwarded_for_follows_its_mode(
    shared: Serve, mode: str, options: tuple[str, ...], expected: str | None
) -> None:
    server = shared(ECHO, "--attribute", f"routing.http.xff_header_processing.mode={mode}")

    headers = curl(*options, server.url).json()["headers"]

    assert headers.get("x-forwarded-for") == expected


@IN_THIS_PROCESS
def test_client_port_is_added(shared: Serve) -> None:
    server = shared(ECHO, "--attribute", "routing.http.xff_client_port.enabled=true")

    reply = curl("--write-out", "\n%{local_port}", server.url)

    event, _, port = reply.body.partition(b"\n")
    assert json.loads(event)["headers"]["x-forwarded-for"] == f"127.0.0.1:{port.decode()}"


@IN_THIS_PROCESS
def test_host_is_preserved(shared: Serve) -> None:
    server = shared(ECHO, "--attribute", "routing.http.preserve_host_header.enabled=true")

    headers = curl("-H", "Host: Shop.Example.org", server.url).json()["headers"]

    assert headers["host"] == "Shop.Example.org"


def test_host_is_lower_case_with_the_listeners_port_otherwise(echo: Server) -> None:
    headers = curl("-H", "Host: Shop.Example.org", echo.url).json()["headers"]

    assert headers["host"] == f"shop.example.org:{echo.port}"


@IN_THIS_PROCESS
def test_server_header_can_be_switched_off_and_others_on(shared: Serve) -> None:
    server = shared(
        ECHO,
        "--attribute",
        "routing.http.response.server.enabled=false",
        "--attribute",
        "routing.http.response.x_frame_options.header_value=DENY",
    )

    for path in ("/", "/raise"):
        reply = curl(server.url + path)
        assert reply.all("server") == []
        assert reply.all("x-frame-options") == ["DENY"]

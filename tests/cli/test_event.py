"""`gateway event`: the event that a request would become."""

import base64
import json
from pathlib import Path
from typing import Any

import click
import pytest

from gateway.cli import group
from gateway.cli.options import FUNCTION_OPTIONS
from gateway.config.function import Function
from gateway.core.arn import target_group_arn
from tests.cli.commands import option_names, refusal, run

SHOP = "http://shop.example.org"


def event(*arguments: str) -> Any:
    result = run("event", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_event_is_complete() -> None:
    found = event("GET", f"{SHOP}/a%2Fb?x=1&x=%202")

    trace_id = found["headers"].pop("x-amzn-trace-id")
    arn = found["requestContext"]["elb"]["targetGroupArn"]
    assert trace_id.startswith("Root=1-")
    assert arn.startswith("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/")
    assert list(found) == [
        "requestContext",
        "httpMethod",
        "path",
        "queryStringParameters",
        "headers",
        "body",
        "isBase64Encoded",
    ]
    assert (found["httpMethod"], found["path"]) == ("GET", "/a%2Fb")
    assert found["queryStringParameters"] == {"x": "%202"}
    assert found["headers"] == {
        "host": "shop.example.org",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-port": "80",
        "x-forwarded-proto": "http",
    }
    assert (found["body"], found["isBase64Encoded"]) == ("", False)


@pytest.mark.parametrize(
    ("url", "host", "port", "scheme"),
    [
        ("shop.example.org", "shop.example.org", "80", "http"),
        ("https://Shop.example.org/", "shop.example.org", "443", "https"),
        ("http://shop.example.org:8080", "shop.example.org:8080", "8080", "http"),
        ("http://user:word@shop.example.org/", "shop.example.org", "80", "http"),
        ("http://[::1]:8080/", "[::1]:8080", "8080", "http"),
    ],
)
def test_url_names_the_listener(url: str, host: str, port: str, scheme: str) -> None:
    found = event("GET", url)

    headers = found["headers"]
    assert found["path"] == "/"
    assert headers["host"] == host
    assert headers["x-forwarded-port"] == port
    assert headers["x-forwarded-proto"] == scheme


def test_headers_are_added_and_may_replace_ours() -> None:
    found = event("GET", SHOP, "-H", "X-Seen: one ", "--header", "X-Seen:two", "-H", "Host: other")

    assert found["headers"]["x-seen"] == "two"
    assert found["headers"]["host"] == "other"


def test_multi_value_mode_keeps_all() -> None:
    found = event(
        "GET", f"{SHOP}?a=1&a=2", "-H", "X-Seen: 1", "-H", "X-Seen: 2", "--multi-value-headers"
    )

    assert found["multiValueHeaders"]["x-seen"] == ["1", "2"]
    assert found["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    assert not {"headers", "queryStringParameters"} & set(found)


def test_data_is_the_body() -> None:
    found = event("POST", SHOP, "-H", "Content-Type: text/plain", "-d", "größer")

    assert (found["body"], found["isBase64Encoded"]) == ("größer", False)
    assert found["headers"]["content-length"] == "8"


def test_data_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(bytes(range(256)))

    found = event("PUT", SHOP, "-d", f"@{file}")

    assert found["isBase64Encoded"] is True
    assert base64.b64decode(found["body"]) == bytes(range(256))


def test_attributes_apply() -> None:
    mode = "routing.http.xff_header_processing.mode=remove"

    assert "x-forwarded-for" not in event("GET", SHOP, "--attribute", mode)["headers"]


def test_another_listener_is_pretended() -> None:
    found = event("GET", "http://127.0.0.1:8080/", "--as", "https://shop.example.org:443")

    assert found["headers"]["host"] == "shop.example.org"
    assert found["headers"]["x-forwarded-proto"] == "https"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ftp://x/"], "'ftp://x/' is not a URL such as http://shop.example.org/cart?x=1"),
        (["http:///path"], "'http:///path' is not a URL such as"),
        (["http://x:port/"], "'http://x:port/' is not a URL: "),
        (["http://x:0/"], "'http://x:0/' is not a URL such as"),
        (["http://x:65536/"], "'http://x:65536/' is not a URL: "),
        (["http://[::1/"], "'http://[::1/' is not a URL: "),
        ([SHOP, "-H", "Accept"], "header 'Accept' needs the form 'Name: value'"),
        ([SHOP, "-H", ": x"], "header ': x' needs the form 'Name: value'"),
        ([SHOP, "-d", "@no-such-file"], "-d @no-such-file cannot be read: No such file or"),
        (
            [SHOP, "--as", "shop"],
            "'shop' is not a listener; write it like https://shop.example.org",
        ),
        ([SHOP, "--as", "http://shop:65536"], "port 65536 of 'http://shop:65536' is not between"),
        ([SHOP, "-H", "X-A: \udcff"], "not UTF-8 in the request"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], line: str) -> None:
    assert line in refusal(run("event", "GET", *arguments))


def test_what_the_listener_answers_itself_becomes_no_event(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * (1024 * 1024 + 1))

    assert "TRACE" in refusal(run("event", "TRACE", SHOP))
    assert "over 1048576 bytes" in refusal(run("event", "POST", SHOP, "-d", f"@{file}"))


def test_function_options_of_serve_name_the_same_target_group(tmp_path: Path) -> None:
    options = ("--code", str(tmp_path), "--region", "eu-north-1", "--account-id", "210987654321")
    by_code = event("GET", SHOP, *options)
    by_name = event("GET", SHOP, *options, "--function-name", "shop")
    arn = "arn:aws:elasticloadbalancing:eu-north-1:210987654321:targetgroup/mine/0123456789abcdef"
    by_arn = event("GET", SHOP, "--target-group-arn", arn)

    place = ("eu-north-1", "210987654321")
    name = Function("app.handler", tmp_path).completed_name()
    assert group_of(by_code) == target_group_arn(*place, name)
    assert group_of(by_name) == target_group_arn(*place, "shop")
    assert group_of(by_arn) == arn


def group_of(found: dict[str, Any]) -> str:
    """Return the target group that an event names."""
    return str(found["requestContext"]["elb"]["targetGroupArn"])


def test_every_function_option_of_serve_is_taken() -> None:
    shared = {name for option in FUNCTION_OPTIONS[1:] for name in option_names(option(command()))}

    assert shared > {"--code", "--function-name", "--target-group-arn"}
    assert shared <= set(option_names(group.commands["event"]))
    assert shared <= set(option_names(group.commands["serve"]))


def command() -> click.Command:
    """Return a command without options."""
    return click.Command("none")

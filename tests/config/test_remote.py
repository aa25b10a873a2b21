"""Where a remote function is: addresses, endpoints, regions and accounts, and what contradicts
itself."""

import pytest

from gateway.config.remote import (
    Emulators,
    Endpoint,
    LambdaFunction,
    Remote,
    account_id,
    address,
    emulators,
    endpoint,
    region,
    short_name,
)
from gateway.core.errors import InvalidSetting
from gateway.core.invoke_api import function_name

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:my-fn:prod"
LOCAL = Endpoint("http", "127.0.0.1", 9000)


def nowhere() -> str:
    return ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9000", LOCAL),
        ("http://127.0.0.1:9000/", LOCAL),
        ("http://my_rie", Endpoint("http", "my_rie", 80)),
        ("https://Lambda.example.org", Endpoint("https", "lambda.example.org", 443)),
        ("http://[::1]:9000", Endpoint("http", "::1", 9000)),
    ],
)
def test_address_is_scheme_host_and_port(url: str, expected: Endpoint) -> None:
    assert address(url, "--rie") == expected
    assert address(str(expected), "--rie") == expected


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9000",
        "ftp://127.0.0.1",
        "http://",
        "http://:9000",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:port",
        "http://127.0.0.1:9000/path",
        "http://127.0.0.1:9000?x=1",
        "http://127.0.0.1:9000#x",
        "http://m\u00fcller.example.org",
        "http://a b",
        "http://[::1",
        "http://user:sesame@127.0.0.1:9000",
        "http://user:ses/ame@127.0.0.1:9000",
    ],
)
def test_what_is_not_an_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        address(url, "--endpoint-url")

    assert str(caught.value).startswith("--endpoint-url needs the form http://HOST:PORT")
    assert "sesame" not in str(caught.value)


def test_emulator_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"--rie http://127\.0\.0\.1:9000 is given twice"):
        emulators(("http://127.0.0.1:9000", "http://127.0.0.1:9001", "http://127.0.0.1:9000/"))


@pytest.mark.parametrize(
    ("given", "machine", "expected"),
    [
        ("", {}, None),
        ("http://127.0.0.1:9000", {"AWS_ENDPOINT_URL": "http://other"}, LOCAL),
        ("", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, LOCAL),
        (
            "",
            {"AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:9000", "AWS_ENDPOINT_URL": "http://x"},
            LOCAL,
        ),
        (
            "",
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            },
            None,
        ),
    ],
)
def test_endpoint_is_given_or_that_of_awss_variables(
    given: str, machine: dict[str, str], expected: Endpoint | None
) -> None:
    assert endpoint(given, machine) == expected


def test_malformed_endpoint_of_a_variable_names_the_variable() -> None:
    with pytest.raises(InvalidSetting, match=r"^AWS_ENDPOINT_URL needs the form"):
        endpoint("", {"AWS_ENDPOINT_URL": "localhost:4566"})


@pytest.mark.parametrize(
    ("function", "given", "machine", "of_profile", "expected"),
    [
        ("my-fn", "eu-west-3", {"AWS_REGION": "eu-west-2"}, "us-east-1", "eu-west-3"),
        (ARN, "", {"AWS_REGION": "eu-west-2"}, "us-east-1", "eu-west-1"),
        (ARN, "eu-west-1", {}, "", "eu-west-1"),
        ("my-fn", "", {"AWS_REGION": "eu-west-2"}, "us-east-1", "eu-west-2"),
        ("my-fn", "", {}, "us-east-1", "us-east-1"),
    ],
)
def test_region_is_the_nearest_that_is_named(
    function: str, given: str, machine: dict[str, str], of_profile: str, expected: str
) -> None:
    assert region(function_name(function), given, machine, lambda: of_profile) == expected


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        ("my-fn", "", "no AWS region was found; give --region, or set AWS_REGION"),
        ("my-fn", "mars", "region 'mars' is not valid; it needs a name like eu-west-1"),
        (ARN, "eu-west-2", "--region eu-west-2 is not the region of the ARN, eu-west-1"),
    ],
)
def test_region_that_cannot_be_had_says_what_to_do(function: str, given: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        region(function_name(function), given, {}, nowhere)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (ARN, "", "111122223333"),
        (ARN, "111122223333", "111122223333"),
        ("111122223333:function:my-fn", "", "111122223333"),
        ("my-fn", "444455556666", "444455556666"),
        ("my-fn", "", "123456789012"),
        ("123412341234", "", "123456789012"),
    ],
)
def test_account_is_the_arns_or_as_given(function: str, given: str, expected: str) -> None:
    assert account_id(function_name(function), given, "123456789012") == expected


def test_account_that_is_not_the_arns_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="is not the account of the ARN, 111122223333"):
        account_id(function_name(ARN), "444455556666", "123456789012")


@pytest.mark.parametrize("function", ["my-fn", "my-fn:prod", "111122223333:function:my-fn", ARN])
def test_name_is_short_in_events(function: str) -> None:
    assert short_name(function_name(function)) == "my-fn"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Emulators((LOCAL,)), "remote: 1 emulator"),
        (Emulators((LOCAL, Endpoint("http", "127.0.0.1", 9001))), "remote: 2 emulators"),
        (
            LambdaFunction(function_name("my-fn:prod"), "eu-west-1"),
            "remote: AWS Lambda my-fn:prod in eu-west-1",
        ),
        (
            LambdaFunction(function_name("my-fn"), "eu-west-1", LOCAL),
            "remote: Lambda my-fn in eu-west-1 at http://127.0.0.1:9000",
        ),
    ],
)
def test_place_is_told_in_a_few_words(place: Emulators | LambdaFunction, expected: str) -> None:
    assert str(Remote(place)) == expected

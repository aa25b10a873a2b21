"""What is to be served, as one setting: a handler, emulators or a function of AWS Lambda."""

import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from gateway.cli import Group
from gateway.cli.remote_options import (
    LOCAL,
    REFUSAL_REASONS,
    REFUSED_PARAMETERS,
    served_function_options,
)
from gateway.config.function import Function
from gateway.config.remote import Emulators, Endpoint, LambdaFunction, Remote
from gateway.core.circuit import CircuitSettings
from gateway.core.invoke_api import FunctionName

ARN = "arn:aws:lambda:eu-central-1:111122223333:function:my-fn:prod"
RIE = ("--rie", "http://127.0.0.1:9000")
NAMED = ("--function", "my-fn")
INVOKED = (*NAMED, "--region", "eu-west-1")
EMULATOR = Emulators((Endpoint("http", "127.0.0.1", 9000),))
MY_FN = FunctionName("my-fn")
received: dict[str, Any] = {}


@click.command()
@served_function_options
@click.option("--concurrency", type=int)
@click.option("--workers", type=int, default=1)
@click.option("--reload", is_flag=True)
def shown(**options: Any) -> None:
    received.clear()
    received.update(options)


@click.group(cls=Group)
def group() -> None:
    """Refuses as ours do."""


group.add_command(shown)


def run(*arguments: str, **variables: str) -> Result:
    machine = {"AWS_REGION": None, "AWS_DEFAULT_REGION": None, "AWS_PROFILE": None}
    machine |= {"AWS_ENDPOINT_URL": None, "AWS_ENDPOINT_URL_LAMBDA": None}
    return CliRunner(env={**machine, **variables}).invoke(group, ("shown", *arguments))


def asked(*arguments: str, **variables: str) -> tuple[Function, Remote | None]:
    done = run(*arguments, **variables)
    assert done.exit_code == 0, done.output
    return received["function"], received["remote"]


def refusal(*arguments: str, **variables: str) -> str:
    done = run(*arguments, **variables)
    assert done.exit_code == 2
    [line] = done.output.splitlines()
    return line.removeprefix("gateway: ").partition(" (see ")[0]


# --- what is served ---


def test_handler_is_served_here() -> None:
    function, remote = asked("app.handler", "--timeout", "5", "--reload")

    assert remote is None
    assert (function.handler, function.timeout_seconds) == ("app.handler", 5.0)
    assert (received["reload"], received["workers"]) == (True, 1)


def test_emulators_are_served_with_their_own_timeout() -> None:
    function, remote = asked(*RIE)

    assert remote == Remote(EMULATOR, timeout_seconds=300.0)
    assert (function.handler, function.completed_name()) == ("", "function")
    assert (function.region, function.account_id) == ("us-east-1", "123456789012")


def test_events_name_an_emulated_function_as_told() -> None:
    names = ("--function-name", "shop", "--region", "eu-west-1", "--account-id", "111122223333")

    function, _ = asked(*RIE, *names)

    assert function.reference().arn == "arn:aws:lambda:eu-west-1:111122223333:function:shop"


def test_function_is_served_with_safe_defaults() -> None:
    function, remote = asked(*INVOKED)

    assert remote == Remote(
        LambdaFunction(MY_FN, "eu-west-1", None, "", wants_log=False, retries=0),
        timeout_seconds=905.0,
        connect_seconds=5.0,
        allowed_hosts=frozenset(),
    )
    assert remote.place.circuit == CircuitSettings(5, 10.0)
    assert function.reference().arn == "arn:aws:lambda:eu-west-1:123456789012:function:my-fn"


def test_events_name_a_function_by_its_arn() -> None:
    function, remote = asked("--function", ARN)

    assert remote is not None
    assert isinstance(remote.place, LambdaFunction)
    assert (remote.place.region, remote.place.name.qualifier) == ("eu-central-1", "prod")
    assert function.reference().arn == ARN.removesuffix(":prod")
    assert (function.region, function.account_id) == ("eu-central-1", "111122223333")
    assert function.completed_name() == "my-fn"


def test_every_setting_of_a_function_arrives() -> None:
    options = ("--endpoint-url", "https://lambda.test", "--profile", "shop", "--log-type", "Tail")
    careful = ("--retries", "2", "--circuit-failures", "3", "--circuit-seconds", "4")
    allowed = ("--allow-host", "Metadata.test", "--allow-host", "169.254.1.1")
    times = ("--timeout", "30", "--connect-timeout", "1.5")

    _, remote = asked(*INVOKED, *options, *careful, *allowed, *times)

    assert remote == Remote(
        LambdaFunction(
            MY_FN,
            "eu-west-1",
            Endpoint("https", "lambda.test", 443),
            "shop",
            wants_log=True,
            retries=2,
            circuit=CircuitSettings(3, 4.0),
        ),
        30.0,
        1.5,
        frozenset({"metadata.test", "169.254.1.1"}),
    )


def test_endpoint_may_be_that_of_awss_variables() -> None:
    _, remote = asked(*INVOKED, AWS_ENDPOINT_URL_LAMBDA="http://127.0.0.1:5000")

    assert remote is not None
    assert str(remote) == "remote: Lambda my-fn in eu-west-1 at http://127.0.0.1:5000"


def test_region_may_be_the_machines() -> None:
    function, _ = asked(*NAMED, AWS_REGION="eu-north-1")

    assert function.region == "eu-north-1"


@pytest.mark.parametrize(("options", "expected"), [((), "eu-west-2"), (("--profile", "b"), "b-1")])
def test_region_may_be_the_profiles(
    tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    pytest.importorskip("botocore")
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-2\n[profile b]\nregion = eu-south-1\n")
    expected = expected.replace("b-1", "eu-south-1")

    function, _ = asked(*NAMED, *options, AWS_CONFIG_FILE=str(config))

    assert function.region == expected


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "missing argument 'HANDLER'; or give --rie URL or --function NAME"),
        (("app.handler", *RIE), "give only one of HANDLER and --rie"),
        (("app.handler", *NAMED), "give only one of HANDLER and --function"),
        ((*RIE, *NAMED), "give only one of --rie and --function"),
        (("app",), "invalid value for 'HANDLER': 'app' is not module.function, such as app"),
        (("--rie", "127.0.0.1:9000"), "--rie needs the form http://HOST:PORT or https://HOST"),
        (("--function", "a b", "--region", "eu-west-1"), "function 'a b' is not valid; it needs"),
        ((*RIE, "--concurrency", "4"), "--concurrency does not go with --rie: an emulator takes"),
        ((*RIE, "--workers", "2"), "--workers does not go with --rie: an emulator takes one"),
        ((*RIE, "--retries", "1"), "--retries does not go with --rie"),
        ((*INVOKED, "--function-name", "x"), "--function-name does not go with --function"),
        (("app.handler", "--retries", "0"), "--retries does not go with HANDLER"),
        (("app.handler", "--allow-host", "x"), "--allow-host does not go with HANDLER"),
        ((*INVOKED, "--retries", "11"), "invalid value for '--retries': 11 is not in the range"),
    ],
)
def test_what_makes_no_sense_together_is_refused(arguments: tuple[str, ...], said: str) -> None:
    assert refusal(*arguments).startswith(said)


@pytest.mark.parametrize("chosen", [RIE, INVOKED], ids=["--rie", "--function"])
@pytest.mark.parametrize(
    "option",
    [
        ("--code", "."),
        ("--layer", "."),
        ("--memory-size", "128"),
        ("--ephemeral-storage", "512"),
        ("--runtime", "python3.12"),
        ("--python", "python3"),
        ("--runtime-client", "bootstrap"),
        ("--function-log-format", "Text"),
        ("--application-log-level", "INFO"),
        ("--system-log-level", "INFO"),
        ("--log-group", "x"),
        ("--env", "A1=b"),
        ("--env-file", "x"),
        ("--reload",),
    ],
    ids=lambda option: option[0],
)
def test_option_of_a_local_handler_is_refused_by_name(
    chosen: tuple[str, ...], option: tuple[str, ...]
) -> None:
    assert refusal(*chosen, *option) == f"{option[0]} does not go with {chosen[0]}"


def test_no_region_at_all_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("botocore")

    said = refusal(*NAMED, AWS_CONFIG_FILE=str(tmp_path / "none"))

    assert said == "no AWS region was found; give --region, or set AWS_REGION"


def test_missing_botocore_is_told_when_the_profile_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    assert refusal(*NAMED) == "botocore is not installed: pip install botocore"


def test_every_refusal_is_about_a_parameter_of_serve() -> None:
    from gateway.cli.serve import serve  # noqa: PLC0415 - for this test alone

    names = {param.name for param in [*serve.params, *shown.params]}

    assert {name for refused in REFUSED_PARAMETERS.values() for name in refused} <= names
    assert set(LOCAL) <= names
    assert {choice for _, choice in REFUSAL_REASONS} <= set(REFUSED_PARAMETERS)

"""The context, held against that of AWS's client, awslambdaric."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from awslambdaric.lambda_context import LambdaContext as AwsContext

from gateway.runtime.child.lambda_context import FunctionSettings, LambdaContext
from tests.runtime.child.functions import WAYS, replies
from tests.runtime.oracle import aws_marshaller

SETTINGS = FunctionSettings()
FUNCTION_VARIABLES = {
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/hello",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef",
    "AWS_LAMBDA_FUNCTION_NAME": "hello",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
}
CLIENT = {"installation_id": "i", "app_title": "t", "app_package_name": "p", "other": "o"}
W3C = {"traceparent": "00-1", "tracestate": 7, "baggage": "b", "other": "o"}


def contexts(
    variables: dict[str, str], client: str, identity: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Any]:
    """Return AWS's context and ours; each gets objects of its own, for it changes them."""
    for name in FUNCTION_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    deadline = int(time.time() * 1000) + 60_000  # noqa: TID251 - so does AWS's context
    settings = FunctionSettings.from_environ(variables)
    theirs = AwsContext("id", json.loads(client), json.loads(identity), deadline, "arn", "tenant")
    ours = LambdaContext(
        settings, "id", deadline, "arn", json.loads(client), json.loads(identity), "tenant"
    )
    return theirs, ours


def seen(context: Any) -> dict[str, Any]:
    """Every attribute of a context, nested objects as their slots."""

    def flat(value: Any) -> Any:
        names = getattr(value, "__slots__", None)
        return {name: flat(getattr(value, name)) for name in names} if names else value

    return {name: flat(value) for name, value in vars(context).items()}


@pytest.mark.parametrize("variables", [{}, FUNCTION_VARIABLES], ids=["bare", "set"])
@pytest.mark.parametrize("identity", ["null", "{}", '{"cognitoIdentityId": "c", "x": 1}'])
@pytest.mark.parametrize(
    "client",
    [
        *("null", "{}", '{"client": {}}', '{"w3c": 1, "custom": 2}'),
        json.dumps({"custom": {"a": 1}, "env": {"b": 2}, "client": CLIENT, "w3c": W3C, "x": 1}),
    ],
)
def test_a_context_shows_what_the_one_of_aws_shows(
    variables: dict[str, str], client: str, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = contexts(variables, client, identity, monkeypatch)

    assert seen(ours) == seen(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.w3c() == theirs.w3c()
    assert dir(ours) == [name for name in dir(theirs) if name != "_extract_and_strip_w3c"]


def test_time_runs_out_and_stays_at_zero() -> None:
    late = LambdaContext(SETTINGS, "id", 1)
    early = LambdaContext(SETTINGS, "id", int(time.time() * 1000) + 60_000)  # noqa: TID251

    assert late.get_remaining_time_in_millis() == 0
    assert 0 < early.get_remaining_time_in_millis() <= 60_000


def test_a_context_logs_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    LambdaContext(SETTINGS, "id", 0).log(7)
    AwsContext("id", None, None, 0).log(7)

    assert capsys.readouterr().out == "77"


@pytest.mark.parametrize("minor", [9, 10, 11, 12, 13, 14, 15])
def test_the_runtime_decides_what_is_escaped(minor: int) -> None:
    environ = {"AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{minor}"}
    theirs = aws_marshaller(environ["AWS_EXECUTION_ENV"]).jsonEncoder.ensure_ascii

    assert FunctionSettings.from_environ(environ).ensure_ascii == theirs


PICKLED = """
import pickle
def handler(event, context):
    copy = pickle.loads(pickle.dumps(context))
    same = vars(copy)["_epoch_deadline_time_in_ms"] == vars(context)["_epoch_deadline_time_in_ms"]
    return [str(type(copy)), copy.aws_request_id == context.aws_request_id, same,
            copy.identity.cognito_identity_id, copy.get_remaining_time_in_millis() > 0]
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_a_context_can_be_pickled_under_the_name_that_it_has_on_lambda(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    (reply,) = await replies(tmp_path, way, app=PICKLED)

    name = "<class 'awslambdaric.lambda_context.LambdaContext'>"
    assert reply == [name, True, True, None, True]

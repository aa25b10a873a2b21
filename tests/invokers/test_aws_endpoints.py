"""Functions of moto's server and of MiniStack, which stand for every endpoint but AWS's own.

Without Docker moto runs nothing: it echoes the event of any function, known or not, so it shows
that names, qualifiers, types and signatures are understood, and no more. MiniStack runs the code.
"""

import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ServiceRefused
from gateway.core.invocation import FunctionRef, Invocation, InvocationType
from gateway.core.invoke_api import function_name
from gateway.core.sigv4 import Credentials
from gateway.invokers.aws import AwsLambda, AwsSettings
from gateway.telemetry.system import SystemClock
from gateway.wire.client import Peer
from tests.invokers.fixed_credentials import FixedCredentials
from tests.invokers.gate import PATIENCE_SECONDS
from tests.runtime.rie import free_ports, wait_until_open

pytestmark = pytest.mark.slow

MOTO = ["moto.server", "-H", "127.0.0.1", "-p", "{port}"]
CODE = """
def handler(event, context):
    if event.get("path") == "/raise":
        raise KeyError("no such cart")
    if "path" in event:
        return {"statusCode": 200, "body": context.function_name + " " + event["path"]}
    return event
"""
REGION = "eu-west-1"
HOST = "127.0.0.1"
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
TRUST = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture(scope="module", params=["moto", "ministack"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with the function `my-fn`, published as version 1 with the alias `prod`."""
    if find_spec(request.param) is None or find_spec("botocore") is None:
        pytest.skip(f"{request.param} is not installed")
    [port] = free_ports(1)
    is_moto = request.param == "moto"
    command = [sys.executable, "-m", *(MOTO if is_moto else ["ministack"])]
    with served([part.format(port=port) for part in command], port, tmp_path_factory.mktemp("it")):
        if is_moto:
            tell(port, "/moto-api/config", {"lambda": {"use_docker": False}})
        create_function(port)
        yield port


@contextmanager
def served(command: list[str], port: int, home: Path) -> Iterator[None]:
    """Run a server in a session of its own, where MiniStack starts processes for its functions."""
    quiet = subprocess.DEVNULL
    own = {"PYTHONWARNINGS": "ignore", "GATEWAY_PORT": str(port), "HOME": str(home)}
    variables = {**os.environ, **own, "TMPDIR": str(home)}
    with subprocess.Popen(
        command,
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        env=variables,
        cwd=home,
        start_new_session=True,
    ) as it:
        try:
            wait_until_open(port, it)
            yield
        finally:
            os.killpg(it.pid, signal.SIGKILL)


def create_function(port: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("app.py", CODE)
    with ExitStack() as stack:
        iam, service = (client(name, port, stack) for name in ("iam", "lambda"))
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))
        service.create_function(
            FunctionName="my-fn",
            Runtime=f"python3.{sys.version_info.minor}",
            Role=role["Role"]["Arn"],
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
            Publish=True,
        )
        service.create_alias(FunctionName="my-fn", Name="prod", FunctionVersion="1")


def client(name: str, port: int, stack: ExitStack) -> Any:
    from botocore.session import Session  # noqa: PLC0415 - where it is installed

    url = f"http://{HOST}:{port}"
    made = Session().create_client(name, region_name=REGION, endpoint_url=url, **KEYS)
    stack.callback(made.close)
    return made


def tell(port: int, path: str, body: Any) -> None:
    """Post JSON to the server."""
    url = f"http://{HOST}:{port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        assert response.status in {200, 201}


def invoker(peer: Peer, function: str) -> AwsLambda:
    settings = AwsSettings(function_name(function), REGION)
    keys = FixedCredentials(Credentials(*KEYS.values()))
    return AwsLambda(settings, peer, keys, clock=SystemClock(), jitter=lambda: 0.0)


def invocation(**fields: Any) -> Invocation:
    payload = fields.pop("payload", b'{"a": "\xc3\xa9"}')
    return Invocation("id", FunctionRef("my-fn", "", ""), payload, **fields)


@pytest.mark.parametrize("function", ["my-fn", "my-fn:prod", "my-fn:1", "my-fn:$LATEST"])
async def test_function_answers(port: int, function: str) -> None:
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, function).invoke(invocation())

    assert json.loads(result.payload) == {"a": "\u00e9"}
    assert result.function_error == ""


async def test_function_is_found_by_its_arn(port: int) -> None:
    with ExitStack() as stack:
        found = client("lambda", port, stack).get_function(FunctionName="my-fn")
    arn = found["Configuration"]["FunctionArn"]
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, arn).invoke(invocation())

    assert json.loads(result.payload) == {"a": "\u00e9"}


@pytest.mark.parametrize("kind", [InvocationType.EVENT, InvocationType.DRY_RUN])
async def test_other_invocation_types_are_accepted(port: int, kind: InvocationType) -> None:
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, "my-fn").invoke(invocation(type=kind))

    assert result.function_error == ""


@pytest.mark.parametrize("port", ["ministack"], indirect=True)
async def test_function_that_runs_there_answers_and_fails_as_on_aws(port: int) -> None:
    async with Peer("http", HOST, port) as peer:
        function = invoker(peer, "my-fn:prod")
        answered = await function.invoke(invocation(payload=b'{"path": "/a"}'))
        failed = await function.invoke(invocation(payload=b'{"path": "/raise"}'))

    assert json.loads(answered.payload) == {"statusCode": 200, "body": "my-fn /a"}
    assert (answered.function_error, answered.executed_version) == ("", "1")
    assert failed.function_error == "Unhandled"
    assert "no such cart" in json.loads(failed.payload)["errorMessage"]


@pytest.mark.parametrize("port", ["ministack"], indirect=True)
@pytest.mark.parametrize("name", ["unknown", "my-fn:7"])
async def test_function_that_is_not_there_is_refused_in_albs_word(port: int, name: str) -> None:
    async with Peer("http", HOST, port) as peer:
        with pytest.raises(ServiceRefused) as refused:
            await invoker(peer, name).invoke(invocation())

    assert refused.value.error_reason == "LambdaResourceNotFound"

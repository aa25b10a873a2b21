"""Functions of moto's server, which stands for every endpoint that is not AWS's own.

Without Docker moto runs nothing: it echoes the event of any function, known or not, so this shows
that names, qualifiers, types and signatures are understood, and no more.
"""

import io
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest

from gateway.core.invocation import FunctionRef, Invocation, InvocationType
from gateway.core.invoke_api import function_name
from gateway.core.sigv4 import Credentials
from gateway.invokers.aws import AwsLambda, AwsSettings
from gateway.invokers.credentials import FixedCredentials
from gateway.telemetry.system import SystemClock
from gateway.wire.client import Peer
from tests.invokers.gate import PATIENCE_SECONDS
from tests.runtime.rie import free_ports, wait_until_open

pytestmark = pytest.mark.slow

REGION = "eu-west-1"
HOST = "127.0.0.1"
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
TRUST = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A moto server with the function `my-fn`, published as version 1 with the alias `prod`."""
    if find_spec("moto") is None or find_spec("botocore") is None:
        pytest.skip("moto[server] is not installed")
    [port] = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    quiet = subprocess.DEVNULL
    variables = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=variables) as it:
        try:
            wait_until_open(port, it)
            create_function(port)
            yield port
        finally:
            it.terminate()
            it.wait(PATIENCE_SECONDS)


def create_function(port: int) -> None:
    tell(port, "/moto-api/config", {"lambda": {"use_docker": False}})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("app.py", "def handler(event, context): return event\n")
    with ExitStack() as stack:
        iam, service = (client(name, port, stack) for name in ("iam", "lambda"))
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))
        service.create_function(
            FunctionName="my-fn",
            Runtime="python3.12",
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
    return Invocation("id", FunctionRef("my-fn", "", ""), b'{"a": "\xc3\xa9"}', **fields)


@pytest.mark.parametrize("function", ["my-fn", "my-fn:prod", "my-fn:1", "my-fn:$LATEST"])
async def test_function_answers(port: int, function: str) -> None:
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, function).invoke(invocation())

    assert result.payload == b'{"a": "\xc3\xa9"}'
    assert result.function_error == ""


async def test_function_is_found_by_its_arn(port: int) -> None:
    arn = f"arn:aws:lambda:{REGION}:123456789012:function:my-fn"
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, arn).invoke(invocation())

    assert result.payload == b'{"a": "\xc3\xa9"}'


@pytest.mark.parametrize("kind", [InvocationType.EVENT, InvocationType.DRY_RUN])
async def test_other_invocation_types_are_accepted(port: int, kind: InvocationType) -> None:
    async with Peer("http", HOST, port) as peer:
        result = await invoker(peer, "my-fn").invoke(invocation(type=kind))

    assert result.function_error == ""

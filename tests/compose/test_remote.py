"""Settings into invokers of functions elsewhere, over real sockets."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.compose import remote as module
from gateway.compose.remote import lambda_address, peer_of, running
from gateway.config.remote import Emulators, Endpoint, LambdaFunction, Remote
from gateway.core.circuit import CircuitSettings
from gateway.core.errors import (
    CircuitOpen,
    GatewayError,
    InvalidSetting,
    ServiceUnreachable,
    Throttled,
)
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.core.interfaces import Invoker
from gateway.core.invocation import InvocationResult
from gateway.core.invoke_api import function_name
from gateway.runtime.leases import LeaseLimits
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeSink
from tests.invokers.gate import invocation
from tests.invokers.signature import ACCESS_KEY, SECRET_KEY, TOKEN, check_signed, fields
from tests.wire.origin import (
    ASYNCIO_ALONE,
    DEADLINE_SECONDS,
    HOST,
    OK,
    SHORT_SECONDS,
    Held,
    Origin,
    Scripted,
    anyio_backend,
    open_files,
    pass_time,
    sending,
    serving,
    until,
)

__all__ = ["anyio_backend"]

REGION = "eu-west-1"
LONG_SECONDS = 60.0
"""Of the event loop's time, which a test moves."""

LOGGED = b"HTTP/1.1 200 OK\r\nX-Amz-Log-Result: U1RBUlQK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Any\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Credentials in the variables, and no file or proxy of the machine; returns the AWS file."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    config = tmp_path / "config"
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(config))
    for name in ("AWS_PROFILE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return config


def local(port: int) -> Endpoint:
    return Endpoint("http", HOST, port)


def lambda_function(port: int, **settings: Any) -> LambdaFunction:
    return LambdaFunction(function_name("my-fn:prod"), REGION, local(port), **settings)


def started(
    remote: Remote, sink: FakeSink | None = None, **limits: Any
) -> AbstractAsyncContextManager[Invoker]:
    clock = SystemClock()
    return running(remote, LeaseLimits(**limits), clock=clock, sink=sink or FakeSink())


@asynccontextmanager
async def invoked(
    script: Scripted, *, seconds: float = DEADLINE_SECONDS, concurrency: int = 50, **settings: Any
) -> AsyncIterator[tuple[Origin, Invoker]]:
    """Serve an endpoint, and give an invoker of its function."""
    async with serving(script) as origin:
        remote = Remote(lambda_function(origin.port, **settings), seconds)
        async with started(remote, concurrency=concurrency) as invoker:
            yield origin, invoker


async def failure(invoker: Invoker, seconds: float = DEADLINE_SECONDS) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        async with asyncio.timeout(seconds):
            await invoker.invoke(invocation())
    return caught.value


# --- a function of AWS Lambda ---


async def test_function_is_invoked_with_the_machines_credentials() -> None:
    pytest.importorskip("botocore")
    async with invoked(sending(OK)) as (origin, invoker):
        result = await invoker.invoke(invocation({"a": 1}))

    [(head, body)] = origin.requests
    check_signed(head, body, REGION)
    assert fields(head)[1].endswith("/functions/my-fn/invocations?Qualifier=prod")
    assert (result.payload, result.log) == (b"ok", "")


async def test_log_is_asked_for_on_demand() -> None:
    pytest.importorskip("botocore")
    async with invoked(sending(LOGGED), wants_log=True) as (origin, invoker):
        result = await invoker.invoke(invocation())

    assert fields(origin.requests[0][0])[2]["x-amz-log-type"] == "Tail"
    assert result.log == "START\n"


@pytest.mark.parametrize("retries", [0, 2])
async def test_throttles_are_tried_again_as_often_as_told(retries: int) -> None:
    pytest.importorskip("botocore")
    async with invoked(sending(BUSY), retries=retries) as (origin, invoker):
        error = await failure(invoker)

    assert isinstance(error, Throttled)
    assert len(origin.requests) == retries + 1


@ASYNCIO_ALONE
async def test_timeout_is_the_deadline_of_an_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    held = Held()
    async with invoked(held, seconds=LONG_SECONDS) as (_, invoker), asyncio.TaskGroup() as tasks:
        failed = tasks.create_task(failure(invoker, LONG_SECONDS * 2))
        await held.came(1)
        pass_time(monkeypatch, LONG_SECONDS - 1.0)
        await until(lambda: True)
        was_done = failed.done()
        pass_time(monkeypatch, 1.0)

    assert not was_done
    assert type(failed.result()).__name__ == "ServiceTimedOut"


async def test_concurrency_is_the_cap_and_has_as_many_connections() -> None:
    pytest.importorskip("botocore")
    held = Held()
    async with (
        invoked(held, concurrency=3) as (origin, invoker),
        asyncio.TaskGroup() as tasks,
    ):
        running_ones = [tasks.create_task(invoker.invoke(invocation())) for _ in range(3)]
        await held.came(3)
        error = await failure(invoker)
        for _ in running_ones:
            held.answer()

    assert origin.most_open == 3
    assert isinstance(error, Throttled)


async def test_circuit_opens_after_the_failures_that_were_set() -> None:
    pytest.importorskip("botocore")
    sink = FakeSink()
    place = lambda_function(1, circuit=CircuitSettings(2, 60.0))
    async with started(Remote(place), sink) as invoker:
        kinds = [type(await failure(invoker)) for _ in range(3)]

    assert kinds == [ServiceUnreachable, ServiceUnreachable, CircuitOpen]
    assert f"{place} fails and is left alone for 60 s" in str(sink.notices[0])


async def test_nothing_is_left_at_the_end() -> None:
    pytest.importorskip("botocore")
    async with serving(sending(OK)) as origin:
        async with started(Remote(lambda_function(origin.port))) as invoker:
            await invoker.invoke(invocation())
        before = open_files()
        async with started(Remote(lambda_function(origin.port))) as invoker:
            await invoker.invoke(invocation())
        await until(lambda: origin.open == 0)
        # The server's ends close in this process, too.
        await until(lambda: open_files() <= before)
        assert open_files() <= before


async def test_no_credentials_are_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    with pytest.raises(InvalidSetting, match="no AWS credentials were found; set AWS_PROFILE"):
        async with started(Remote(lambda_function(1))):
            raise AssertionError("it started")


@pytest.fixture
def assumed_role(machine: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A profile whose role cannot be assumed: the chain finds it, and fails when it is used."""
    keys = "aws_access_key_id = AKIDDEFAULT\naws_secret_access_key = sesame\n"
    role = "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = default\n"
    machine.write_text(f"[default]\n{keys}[profile role]\n{role}region = {REGION}\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{HOST}:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return "role"


async def test_role_that_cannot_be_assumed_is_told_at_the_start(assumed_role: str) -> None:
    pytest.importorskip("botocore")

    with pytest.raises(InvalidSetting, match="the AWS credentials are not available: ") as caught:
        async with started(Remote(lambda_function(1, profile=assumed_role))):
            raise AssertionError("it started")

    assert "sesame" not in str(caught.value)


async def test_missing_botocore_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    with pytest.raises(InvalidSetting, match="pip install botocore"):
        async with started(Remote(lambda_function(1))):
            raise AssertionError("it started")


@pytest.mark.parametrize(
    ("region", "host"),
    [("eu-west-1", "lambda.eu-west-1.amazonaws.com"), ("cn-north-1", "lambda.cn-north-1.")],
)
def test_awss_own_endpoint_is_that_of_the_region(region: str, host: str) -> None:
    found = lambda_address(region)

    assert (found.scheme, found.port) == ("https", 443)
    assert found.host.startswith(host)


# --- emulators ---


async def test_every_emulator_takes_one_invocation_at_a_time() -> None:
    held = [Held(), Held()]
    async with serving(held[0]) as one, serving(held[1]) as two:
        place = Emulators((local(one.port), local(two.port)))
        async with started(Remote(place), concurrency=50) as invoker, asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(invoker.invoke(invocation())) for _ in range(2)]
            await held[0].came(1)
            await held[1].came(1)
            error = await failure(invoker)
            for each in held:
                each.answer()

    assert isinstance(error, Throttled)
    assert [call.result() for call in calls] == [InvocationResult(b"ok")] * 2


async def test_emulator_may_be_waited_for() -> None:
    async with serving(sending(OK)) as origin:
        remote = Remote(Emulators((local(origin.port),)))
        async with started(remote, queue_timeout_seconds=DEADLINE_SECONDS) as invoker:
            results = await asyncio.gather(*(invoker.invoke(invocation()) for _ in range(5)))

    assert {result.payload for result in results} == {b"ok"}
    assert origin.most_open == 1


@ASYNCIO_ALONE
async def test_emulator_that_takes_too_long_is_answered_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held()
    async with serving(held) as origin:
        remote = Remote(Emulators((local(origin.port),)), LONG_SECONDS)
        async with started(remote) as invoker, asyncio.TaskGroup() as tasks:
            late = tasks.create_task(invoker.invoke(invocation()))
            await held.came(1)
            pass_time(monkeypatch, LONG_SECONDS)
            result = await late

    assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"


async def test_emulators_need_no_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    async with (
        serving(sending(OK)) as origin,
        started(Remote(Emulators((local(origin.port),)))) as invoker,
    ):
        result = await invoker.invoke(invocation())

    assert result.payload == b"ok"


# --- connections ---


def test_origin_is_spoken_to_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    remote = Remote(Emulators(()), connect_seconds=1.5, allowed_hosts=frozenset({"meta.test"}))

    peer = peer_of(Endpoint("http", "rie.test", 9000), remote, connections=7)

    settings = peer._settings
    assert peer.authority == b"rie.test:9000"
    assert (settings.connections, settings.connect_seconds) == (7, 1.5)
    assert (settings.proxy, settings.allowed_hosts) == ("http://proxy.test:3128", {"meta.test"})
    assert settings.max_response_bytes >= MAX_RESPONSE_BYTES


def test_malformed_proxy_is_an_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://proxy.test:3128")

    with pytest.raises(InvalidSetting, match="must be http://HOST:PORT"):
        peer_of(Endpoint("http", "rie.test", 9000), Remote(Emulators(())), connections=1)


async def test_metadata_address_is_refused_unless_it_is_named() -> None:
    place = Emulators((Endpoint("http", "169.254.169.254", 80),))
    async with started(Remote(place, connect_seconds=SHORT_SECONDS)) as invoker:
        error = await failure(invoker)

    assert isinstance(error, ServiceUnreachable)


# --- what a local handler pays ---


def test_command_line_alone_imports_nothing_of_this_nor_of_https() -> None:
    code = "import sys, gateway.cli.serve, gateway.cli.remote_options; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    modules = set(done.stdout.split())
    assert "gateway.compose.functions" in modules
    heavy = {module.__name__, "gateway.wire.client", "gateway.invokers.aws", "urllib.request"}
    assert (heavy | {"cryptography", "gateway.compose.https", "ngh2"}) & modules == set()

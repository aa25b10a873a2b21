"""Settings into running environments: which runtime, which refusals, new code beside the old."""

import json
import sys
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.compose import environments
from gateway.compose.environments import (
    Running,
    bootstrap_executable,
    busy,
    explained,
    is_forked,
    lease_limits,
    pool_settings,
    runtime_of,
)
from gateway.config.function import Execution, Function
from gateway.config.process import Process
from gateway.core.errors import InvalidSetting, Throttled
from gateway.core.interfaces import Sink
from gateway.core.invocation import Invocation, request_id
from gateway.core.notices import OperatorWarning
from gateway.runtime.interpreter import Interpreter, own_runtime
from gateway.runtime.leases import STOPPING_REASON, LeaseLimits
from gateway.runtime.pool import PoolSettings
from gateway.telemetry.system import HexDraws, SystemClock
from gateway.testing import FakeSink
from tests.runtime.environments import descriptor_count

CODE = """
import os
def handler(event, context):
    return ["version 1", event, os.environ.get("STAGE"), context.memory_limit_in_mb]
"""
LOOP = str(environments.MAIN)


@pytest.fixture
def shop(tmp_path: Path) -> Function:
    code = tmp_path / "shop"
    code.mkdir()
    (code / "app.py").write_text(CODE)
    return Function("app.handler", code, memory_mb=256, environment={"STAGE": "test"})


# --- which runtime ---


def test_own_interpreter_is_forked(shop: Function) -> None:
    found = runtime_of(shop)

    assert (found.command, found.execution_env) == ((), f"AWS_Lambda_{own_runtime()}")
    assert str(Path(environments.__file__).parents[2]) in found.keep


def test_aws_client_is_executed(shop: Function) -> None:
    found = runtime_of(replace(shop, runtime_client="awslambdaric"))

    assert found.command == (sys.executable, "-m", "awslambdaric", "app.handler")


def test_variables_that_act_at_exec_have_the_interpreter_executed(shop: Function) -> None:
    found = runtime_of(replace(shop, environment={"PYTHONHASHSEED": "0"}))

    assert found.command == (sys.executable, LOOP)


def test_libraries_of_code_or_layers_have_the_interpreter_executed(
    shop: Function, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    layered = replace(shop, layers=(layer,))
    before = is_forked(layered, sys.executable)

    (layer / "lib").mkdir()

    assert (before, is_forked(layered, sys.executable)) == (True, False)


def test_wrapper_is_given_the_command(shop: Function) -> None:
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
    found = runtime_of(replace(shop, environment=wrapper))

    assert found.command == ("/opt/wrapper", sys.executable, LOOP)


def test_other_interpreter_is_executed_under_its_own_name(shop: Function, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = runtime_of(replace(shop, python=str(python)))

    assert found.command == (str(python), LOOP)
    assert found.execution_env == f"AWS_Lambda_{own_runtime()}"


def test_provided_runtime_is_the_bootstrap_of_the_code(shop: Function) -> None:
    found = runtime_of(replace(shop, runtime="provided.al2023"))

    assert (found.command, found.execution_env) == (("/var/task/bootstrap",), "")


def test_bootstrap_of_the_last_layer_counts_where_the_code_has_none(
    shop: Function, tmp_path: Path
) -> None:
    layers = tuple(tmp_path / name for name in ("one", "two", "three"))
    for layer in layers:
        layer.mkdir()
    for layer in layers[:2]:
        (layer / "bootstrap").touch()
    layered = replace(shop, layers=layers)

    assert bootstrap_executable(layered) == (str(layers[1].resolve() / "bootstrap"),)
    (shop.code / "bootstrap").touch()
    assert bootstrap_executable(layered) == ("/var/task/bootstrap",)


@pytest.mark.parametrize("settings", [{"python": "python3"}, {"strict_packages": True}])
def test_options_of_python_are_refused_for_an_executable(
    shop: Function, settings: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSetting, match="is for Python runtimes; --runtime provided"):
        runtime_of(replace(shop, runtime="provided.al2023", **settings))


def test_a_python_that_is_too_old_is_refused_but_for_awss_client(
    shop: Function, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    facts = json.dumps([[3, 8, 18], str(old), ["/lib"], ["/usr"]])
    old.write_text(f"#!/bin/sh\necho '{facts}'\n")
    old.chmod(0o755)
    shop = replace(shop, python=str(old))

    with pytest.raises(InvalidSetting) as caught:
        runtime_of(shop)

    assert str(caught.value).startswith(f"python 3.8.18: {old} (--python) is too old: ")
    assert runtime_of(replace(shop, runtime_client="awslambdaric")).execution_env.endswith("3.8")


# --- what helps when an init fails ---

PYTHON = Interpreter("/v/bin/python", (3, 12, 1), ("/l", "/v/site-packages"), (), "--python /v")


def test_a_missing_module_says_where_it_was_looked_for(shop: Function, tmp_path: Path) -> None:
    layered = replace(shop, layers=(tmp_path,))
    failure = "Runtime.ImportModuleError: Unable to import module 'app': No module named 'x'"

    assert explained(failure, layered, PYTHON) == (
        f"{failure} (python 3.12.1: /v/bin/python (--python /v); searched {shop.code.resolve()}, "
        f"{tmp_path}/python, /v/site-packages; see --python and --code)"
    )
    assert explained(failure.replace("'x'", "'boto3.s3'"), shop, PYTHON).endswith(
        "AWS's runtime has boto3, install it here)"
    )
    assert explained(failure, shop, None) == failure


def test_a_hidden_module_says_by_what(shop: Function) -> None:
    failure = "Runtime.HandlerNotFound: Handler 'handler' missing on module 'queue'"

    said = explained(failure, replace(shop, handler="queue.handler"), PYTHON)

    assert said == (
        f"{failure} (queue is a module of Python's that Lambda's runtime has loaded before: rename "
        "queue.py)"
    )
    assert explained(failure, shop, PYTHON) == failure


# --- settings ---


def test_pool_has_the_settings(shop: Function) -> None:
    execution = Execution(
        concurrency=7,
        queue_timeout_seconds=2.0,
        min_environments=3,
        idle_environment_seconds=4.0,
    )

    assert pool_settings(execution) == PoolSettings(7, idle_seconds=4.0, min_environments=3)
    assert lease_limits(execution) == LeaseLimits(7, queue_timeout_seconds=2.0)
    assert all(
        option in busy(execution) for option in ("all 7", "--concurrency", "--queue-timeout")
    )


# --- running ---


@asynccontextmanager
async def running(
    function: Function, sink: Sink | None = None, *, is_reloading: bool = False, **settings: Any
) -> AsyncIterator[Running]:
    described = replace(function, execution=Execution(**settings))
    process = Process(is_reloading=is_reloading)
    started = environments.running(described, process, sink, SystemClock(), HexDraws())
    async with started as found:
        yield found


async def ask(found: Running, function: Function) -> Any:
    invocation = Invocation(request_id(HexDraws()(32)), function.reference(), b'{"a": 1}')
    result = await found.invoker.invoke(invocation)
    return json.loads(result.payload)


@pytest.mark.slow
async def test_function_runs_with_its_settings(shop: Function) -> None:
    async with running(shop) as found:
        reply = await ask(found, shop)

    assert reply[:3] == ["version 1", {"a": 1}, "test"]
    assert int(reply[3]) == 256
    assert found.isolation.startswith("isolation: ")
    assert "python" not in found.isolation


@pytest.mark.slow
async def test_aws_client_answers_the_same(shop: Function) -> None:
    shop = replace(shop, runtime_client="awslambdaric")
    async with running(shop) as found:
        assert (await ask(found, shop))[0] == "version 1"


@pytest.mark.slow
async def test_invocation_after_the_end_is_throttled(shop: Function) -> None:
    async with running(shop) as found:
        pass

    with pytest.raises(Throttled, match=STOPPING_REASON):
        await ask(found, shop)


FAILING_INITS = [
    ("raise ValueError('no database')\n", "ValueError: no database"),
    ("import os; os._exit(3)\n", "Runtime.ExitError"),
]
NOT_FOUND = [
    ("other = 1\n", "Runtime.HandlerNotFound: Handler 'handler' missing on module 'app'"),
    ("import nothing_like_it\n", "Runtime.ImportModuleError: Unable to import module 'app': "),
    ("def handler(\n", "Runtime.UserCodeSyntaxError: Syntax error in module 'app': "),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "line", "requires_init"),
    [(*each, False) for each in NOT_FOUND]
    + [(*each, True) for each in FAILING_INITS + NOT_FOUND[:1]],
)
async def test_handler_that_is_not_found_is_refused_and_any_failure_if_asked(
    shop: Function, source: str, line: str, *, requires_init: bool
) -> None:
    (shop.code / "app.py").write_text(source)

    with pytest.raises(InvalidSetting) as caught:
        async with running(shop, requires_init=requires_init):
            raise AssertionError("it runs")

    assert str(caught.value).startswith(line)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "line"), FAILING_INITS)
async def test_init_that_fails_at_the_start_is_run_again_by_an_invocation(
    shop: Function, source: str, line: str
) -> None:
    (shop.code / "app.py").write_text(source)
    sink = FakeSink()

    async with running(shop, sink) as found:
        (shop.code / "app.py").write_text(CODE)
        reply = await ask(found, shop)

    warning = f"init failed: {line}; it is run again inside the next invocation"
    assert OperatorWarning(warning) in sink.notices
    assert reply[0] == "version 1"


@pytest.mark.slow
async def test_warning_goes_to_stderr_where_nothing_listens(
    shop: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop.code / "app.py").write_text("raise ValueError('no database')\n")

    async with running(shop):
        pass

    assert capsys.readouterr().err.startswith("gateway: init failed: ValueError: no database; ")


@pytest.mark.slow
async def test_another_python_is_said_at_the_start_and_runs_the_function(
    shop: Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "active", with_pip=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    (shop.code / "app.py").write_text("import sys\ndef handler(*_):\n    return sys.prefix\n")
    async with running(shop) as found:
        prefix = await ask(found, shop)

    version = ".".join(map(str, sys.version_info[:3]))
    python = f"{tmp_path}/active/bin/python (VIRTUAL_ENV {tmp_path}/active)"
    assert found.isolation.splitlines()[1:] == [f"python {version}: {python}"]
    assert prefix == str(tmp_path / "active")


@pytest.mark.slow
async def test_a_missing_module_is_refused_with_the_places_that_were_searched(
    shop: Function,
) -> None:
    (shop.code / "app.py").write_text("import no_such_module\n")
    with pytest.raises(InvalidSetting) as caught:
        async with running(shop):
            raise AssertionError("it runs")

    installed = next(path for path in sys.path if path.endswith("site-packages"))
    assert "No module named 'no_such_module' (python 3." in str(caught.value)
    assert f"{sys.executable}; searched {shop.code}, {installed}; see --py" in str(caught.value)


@pytest.mark.slow
async def test_code_that_cannot_be_read_is_refused(shop: Function, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^--code .* cannot be read: "):
        async with running(replace(shop, code=tmp_path / "nowhere")):
            raise AssertionError("it runs")


@pytest.mark.slow
async def test_new_code_replaces_the_old_and_broken_code_does_not(shop: Function) -> None:
    async with running(shop) as found:
        (shop.code / "app.py").write_text("raise ValueError('no')\n")
        broken = await found.replace(shop)
        kept = await ask(found, shop)
        (shop.code / "app.py").write_text(CODE.replace("version 1", "version 2"))
        fixed = await found.replace(shop)
        moved = await ask(found, shop)

    assert (broken, kept[0]) == ("ValueError: no", "version 1")
    assert (fixed, moved[0]) == ("", "version 2")


@pytest.mark.slow
async def test_watched_code_may_be_broken_at_first(shop: Function) -> None:
    (shop.code / "app.py").write_text("raise ValueError('no')\n")
    async with running(shop, is_reloading=True) as found:
        reply = await ask(found, shop)

    assert (reply["errorType"], reply["errorMessage"]) == ("ValueError", "no")


@pytest.mark.slow
async def test_log_stream_is_named_as_on_aws(shop: Function) -> None:
    (shop.code / "app.py").write_text(
        "def handler(event, context):\n"
        "    return [context.log_group_name, context.log_stream_name]\n"
    )
    async with running(shop) as found:
        group, stream = await ask(found, shop)

    assert group == "/aws/lambda/shop"
    date, name = stream.rsplit("/", 1)
    assert len(date) == len("2026/11/22")
    assert name.startswith("[$LATEST]")
    assert len(name) == len("[$LATEST]") + 32


@pytest.mark.slow
async def test_nothing_is_left_of_a_pool(shop: Function) -> None:
    before = descriptor_count()
    async with running(shop, min_environments=3) as found:
        await ask(found, shop)

    assert descriptor_count() == before

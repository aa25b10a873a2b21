"""Our bootstrap as a real child of a real environment, beside AWS's own client."""

import json
import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.core.invocation import InvocationResult
from gateway.core.notices import LogEntry
from tests.runtime.api_client import PATIENCE_SECONDS
from tests.runtime.environments import AWSS, OURS, Launcher, World, world, write
from tests.soaking import soak_only

pytestmark = pytest.mark.slow

JSON_LOG = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
RUNTIME_3_12 = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}


def handler(body: str, head: str = "import json, logging, os, sys, time") -> str:
    return f"{head}\ndef handler(event, context):\n    {body}\n"


async def result_of(tmp_path: Path, app: str, payload: bytes = b"{}", **settings: Any) -> Any:
    """Return what the handler's JSON says."""
    async with world(Launcher(), write(tmp_path, app=app), **settings) as it:
        return json.loads((await it.call(payload)).payload)


async def test_only_the_functions_directories_are_importable(tmp_path: Path) -> None:
    path = await result_of(tmp_path, handler("return sys.path"))

    assert path[0] == str(tmp_path)
    assert not [entry for entry in path if "gateway/runtime" in entry]


@pytest.mark.parametrize("name", ["bootstrap", "api", "environment", "queue", "output", "pool"])
async def test_a_function_may_have_modules_of_our_names(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: "MINE = True"})
    app = handler(f"return {name}.MINE", head=f"import {name}")

    assert await result_of(tmp_path, app) is True


async def test_a_handlers_own_module_may_be_called_bootstrap(tmp_path: Path) -> None:
    write(tmp_path, bootstrap=handler("return 1"))
    variables = {"_HANDLER": "bootstrap.handler"}

    assert await result_of(tmp_path, "", variables=variables) == 1


async def test_the_context_has_every_field(tmp_path: Path) -> None:
    app = handler(
        "c = context; return [c.function_name, c.function_version, c.memory_limit_in_mb, "
        "c.log_group_name, c.invoked_function_arn, c.client_context.custom, "
        "c.identity.cognito_identity_id, c.aws_request_id, c.tenant_id]"
    )
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        result = await it.call(context='{"custom": {"a": "\u00e9"}}')
        fields = json.loads(result.payload)

        assert fields[:4] == ["shop", "7", "128", "g"]
        assert fields[4].endswith("function:shop")
        assert fields[5:] == [{"a": "\u00e9"}, None, it.request_id, None]


async def test_a_client_context_that_is_not_json_is_a_function_error(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app=handler("return 1"))) as it:
        payload = json.loads((await it.call(context="{")).payload)
        assert payload["errorType"] == "Runtime.LambdaContextUnmarshalError"
        assert (await it.call()).payload == b"1"


async def test_the_trace_id_is_there_for_its_own_invocation(tmp_path: Path) -> None:
    app = handler("return os.environ.get('_X_AMZN_TRACE_ID')")
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        first = await it.call(trace_id="Root=1-a")
        assert (first.payload, (await it.call()).payload) == (b'"Root=1-a"', b"null")


async def test_time_runs_out(tmp_path: Path) -> None:
    app = handler(
        "a = context.get_remaining_time_in_millis(); time.sleep(0.05); "
        "return [a, context.get_remaining_time_in_millis()]"
    )
    first, second = await result_of(tmp_path, app)

    assert 2000 < first <= 3000
    assert first - second >= 50


async def test_a_record_of_several_lines_is_one_entry(tmp_path: Path) -> None:
    app = handler("print('a'); print('b'); logging.warning('one\\ntwo'); return 1")
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        await it.call()
        entries = it.reports()[0].entries

        (record,) = [entry for entry in entries if "WARNING" in entry.text]
        assert {entry.text for entry in entries} - {record.text} == {"a", "b"}
        assert re.fullmatch(
            rf"\[WARNING\]\t\d{{4}}-\d\d-\d\dT[\d:]+\.\d{{3}}Z\t{it.request_id}\tone\ntwo",
            record.text,
        )


async def test_output_is_written_at_once(tmp_path: Path) -> None:
    app = handler("print('said', end=''); sys.stderr.write('err'); os._exit(1)")
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        assert (await it.call()).log.replace("\n", "") == "saiderr"


async def test_a_large_result_arrives_whole(tmp_path: Path) -> None:
    app = handler("return 'x' * event")
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        assert len((await it.call(b"5000000")).payload) == 5_000_002
        fitting = str(MAX_RESPONSE_BYTES - 2).encode()
        assert len((await it.call(fitting)).payload) == MAX_RESPONSE_BYTES
        too_large = json.loads((await it.call(b"6291555")).payload)
        assert too_large["errorType"] == "Function.ResponseSizeTooLarge"
        assert len(it.launcher.children) == 1
        assert (await it.call(b"1")).payload == b'"x"'
        assert len(it.launcher.children) == 2  # AWS's client ends, too


async def test_a_large_event_arrives_whole(tmp_path: Path) -> None:
    payload = json.dumps("x" * 6_000_000).encode()

    assert await result_of(tmp_path, handler("return len(event)"), payload) == 6_000_000


@pytest.mark.parametrize(
    ("code", "said"),
    [("sys.exit('bye')", "bye"), ("sys.exit()", ""), ("sys.exit(0)", "")],
)
async def test_an_exit_while_loading_is_told_once(tmp_path: Path, code: str, said: str) -> None:
    async with world(Launcher(), write(tmp_path, app=f"import sys; {code}")) as it:
        payload = json.loads((await it.call()).payload)
        inits = [notice for notice in it.notices if hasattr(notice, "init_ms")]

        assert payload["errorType"] == "Runtime.ExitError"
        assert "".join(entry.text for entry in inits[0].entries) == said


async def test_an_interruption_while_loading_is_a_signal(tmp_path: Path) -> None:
    app = "raise KeyboardInterrupt"
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        payload = json.loads((await it.call()).payload)
        inits = [notice for notice in it.notices if hasattr(notice, "init_ms")]
        lines = [entry.text for entry in inits[0].entries]

        assert payload["errorMessage"].endswith("signal: interrupt")
        assert lines.count("KeyboardInterrupt") == 1


async def test_levels_of_json_are_named_on_the_log_pipe(tmp_path: Path) -> None:
    app = handler("logging.warning('w'); logging.info('hidden'); print('p'); return 1")
    variables = {**JSON_LOG, "AWS_LAMBDA_LOG_LEVEL": "WARN"}
    async with world(Launcher(), write(tmp_path, app=app), variables=variables) as it:
        await it.call()
        entries = it.reports()[0].entries

        assert {(entry.level, entry.is_json) for entry in entries} == {
            ("WARN", True),
            ("", False),
        }


async def test_a_result_that_is_too_large_names_its_error_type(tmp_path: Path) -> None:
    write(tmp_path, app=handler("return 'x' * 6291555"))
    async with world(Launcher(), tmp_path) as it:
        payload = json.loads((await it.call()).payload)

        assert payload["errorType"] == it.reports()[0].error_type
        assert payload["errorType"] == "Function.ResponseSizeTooLarge"


async def test_orjson_comes_after_the_first_answer(tmp_path: Path) -> None:
    app = handler("return {'statusCode': 200, 'body': str('orjson' in sys.modules)}")
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        replies = [(await it.call()).payload for _ in range(2)]

    assert replies == [
        b'{"statusCode": 200, "body": "False"}',
        b'{"statusCode":200,"body":"False"}',  # and the function does not see it
    ]


@pytest.mark.parametrize("own", ["name = 1", "loads = dumps = 1", "raise ValueError('no')"])
async def test_a_functions_own_orjson_may_be_anything(tmp_path: Path, own: str) -> None:
    body = "return {'statusCode': 200, 'body': 'x'}"
    async with world(Launcher(), write(tmp_path, app=handler(body), orjson=own)) as it:
        replies = [(await it.call(b'{"requestContext":{"elb":{}}}')).payload for _ in range(2)]

    assert replies == [b'{"statusCode": 200, "body": "x"}'] * 2


async def test_a_function_with_its_own_orjson_gets_that(tmp_path: Path) -> None:
    body = handler("return orjson.NAME", head="import orjson")
    write(tmp_path, orjson="NAME = 'mine'")

    assert await result_of(tmp_path, body) == "mine"


def test_a_bootstrap_without_a_gateway_ends(tmp_path: Path) -> None:
    write(tmp_path, app=handler("return 1"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        environ = {"AWS_LAMBDA_RUNTIME_API": address, "_HANDLER": "app.handler"}
        child = subprocess.Popen(OURS, env=environ, cwd=tmp_path)
        server.settimeout(PATIENCE_SECONDS)
        server.accept()[0].close()

        assert child.wait(PATIENCE_SECONDS) == 0


HANDLERS = {
    "object": handler("return {'a': [1, None, 1.5, 'caf\\u00e9']}"),
    "nothing": handler("return None"),
    "bytes": handler("return b'\\x00raw'"),
    "raises": handler("raise ValueError('bad')"),
    "raises without text": handler("raise RuntimeError"),
    "raises below": handler("helper()", head="def helper():\n    raise KeyError('k')\n"),
    "cannot be written as JSON": handler("return {1, 2}"),
    "context": handler("print(repr(context)); return event"),
    "prints": handler("print('one'); print('two\\nthree'); return 1"),
    "logs": handler("logging.warning('one\\ntwo'); logging.error('x'); logging.info('no')"),
    "logs what is hidden": handler(
        "logging.getLogger().setLevel('DEBUG'); logging.debug('%s', event)"
    ),
    "logs an exception": handler(
        "try:\n        1 / 0\n    except Exception:\n        logging.exception('oh')"
    ),
    "context.log": handler("context.log('a\\n')"),
    "exits": handler("sys.exit(3)"),
    "exits at once": handler("os._exit(0)"),
    "is killed": handler("os.kill(os.getpid(), 9)"),
    "module missing": "import nothing_like_it",
    "syntax error": "def handler(",
    "handler missing": "other = 1",
    "import raises": "raise ValueError('at import')",
    "exits while loading": "import os; os._exit(5)",
    "reads a lone surrogate": handler("return len(json.loads(b'\"\\\\ud800\"'))", "import json"),
    "logs a lone surrogate": handler(
        "try:\n        logging.warning('\\ud800')\n    except ValueError as error:\n"
        "        return str(error)"
    ),
    "raises 7 MB": handler("raise ValueError('x' * 7_000_000)"),
}

ENDS = {
    "returns a lone surrogate": handler("return ['\\ud800', {'\\udfff': 1}]"),
    "raises a lone surrogate": handler("raise ValueError('\\ud800')"),
    "returns 7 MB": handler("return 'x' * 7_000_000"),
}
"""Where AWS's client may end with a traceback through its own files, ours with its last line."""


def shown(result: InvocationResult, it: World) -> dict[str, Any]:
    """Return what must be the same, without ids, times and places."""
    try:
        payload = json.loads(result.payload)
    except ValueError:
        payload = result.payload
    entries = [entry for report in it.reports() for entry in report.entries]
    return {
        "payload": cleaned(payload, it),
        "error": result.function_error,
        "status": [(report.status, report.error_type) for report in it.reports()],
        "inits": it.inits(),
        "told in init": [one(entry, it) for entry in it.init_entries() if not is_advice(entry)],
        "entries": [one(entry, it) for entry in sorted(entries, key=is_framed)],
    }


def is_advice(entry: LogEntry) -> bool:
    """Say whether AWS's client explains here that its updates may be at fault: ours has none."""
    return "LAMBDA_WARNING" in entry.text


def is_framed(entry: LogEntry) -> bool:
    return bool(entry.level)


def one(entry: LogEntry, it: World) -> tuple[str, bool, Any]:
    is_whole = entry.is_json and entry.text.endswith("}")
    text = json.loads(entry.text) if is_whole else entry.text
    return entry.level, entry.is_json, cleaned(text, it)


def cleaned(value: Any, it: World) -> Any:
    text = json.dumps(value, default=repr).replace(it.request_id, "ID")
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+(\.\d{3})?Z", "TIME", text)
    text = re.sub(r"log_stream_name=\w+", "log_stream_name=S", text)
    return json.loads(re.sub(r"_epoch_deadline_time_in_ms=\d+", "", text))


async def observed(tmp_path: Path, command: tuple[str, ...], **settings: Any) -> dict[str, Any]:
    async with world(Launcher(), tmp_path, command=command, **settings) as it:
        return shown(await it.call(b'{"a": 1}'), it)


VARIABLES = {
    "text": {},
    "JSON": JSON_LOG,
    "3.12": RUNTIME_3_12,
    "errors": {"AWS_LAMBDA_LOG_LEVEL": "ERROR"},
}


def pairs(names: Iterable[str], *kinds: str) -> list[Any]:
    """Return each name with each kind of variables; all but a sixth of those behind the first kind
    are for a soak."""
    return [
        pytest.param(name, kind, marks=() if not at or number % 6 == at else soak_only)
        for number, name in enumerate(names)
        for at, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(("name", "kind"), pairs(HANDLERS, "text", "JSON", "3.12", "errors"))
async def test_the_same_as_awss_client(tmp_path: Path, name: str, kind: str) -> None:
    write(tmp_path, app=HANDLERS[name])

    ours = await observed(tmp_path, OURS, variables=VARIABLES[kind])
    awss = await observed(tmp_path, AWSS, variables=VARIABLES[kind])

    assert ours == awss


@pytest.mark.parametrize(("name", "kind"), pairs(ENDS, "text", "JSON", "3.12"))
async def test_it_ends_where_awss_client_ends(tmp_path: Path, name: str, kind: str) -> None:
    write(tmp_path, app=ENDS[name])

    ours = await observed(tmp_path, OURS, variables=VARIABLES[kind])
    awss = await observed(tmp_path, AWSS, variables=VARIABLES[kind])

    last_words = [re.sub(r"position \d+", "", str(it.pop("entries")[-1:])) for it in (ours, awss)]
    assert last_words[0] == last_words[1]
    assert ours == awss

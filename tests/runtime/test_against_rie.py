"""The same functions in AWS's Runtime Interface Emulator and here, with both runtime clients.

Each function is invoked three times, so that what an answer does to the next one is compared too.
Payloads are compared as parsed JSON, since the order of keys is the engine's own; request ids as
whether there is one; and of a stack trace the frames of the function, the others being the runtime
client's own. The emulator has no header that says whether a payload is an error's.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.core.invocation import InvocationResult
from gateway.runtime.slots import Readiness
from tests.runtime.environments import AWSS, OURS, Launcher, world, write
from tests.runtime.rie import emulating
from tests.soaking import IS_SOAK

pytestmark = pytest.mark.slow

VARIABLES = {
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_GROUP_NAME": "g",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PATH = {"PATH": str(Path(sys.executable).parent)}
EVENT = '{"text": "caf\xe9 \U0001f600", "numbers": [1, -0.0, 1.5, 1e22, null, true]}'.encode()
TIMES = 3
REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

TOP = "import decimal, os, signal, sys, time\ncount = 0\ndef handler(event, context):\n"
COUNT = "    global count\n    count += 1\n"

BODIES = {
    "echo": "    return event\n",
    "count": COUNT + "    return count\n",
    "nothing": "    return None\n",
    "text": "    return 'caf\\xe9 \\u2028 \\U0001f600'\n",
    "empty text": "    return ''\n",
    "lone surrogate": "    return '\\ud800'\n",
    "numbers": "    return [10**40, 1e22, -0.0, float('inf')]\n",
    "nan": "    return float('nan')\n",
    "decimal": "    return decimal.Decimal('1.50')\n",
    "bytes": "    return b'caf\\xc3\\xa9'\n",
    "bytes that are not JSON": "    return b'\\x00raw'\n",
    "bytes inside": "    return {'a': [b'x']}\n",
    "tuple": "    return (1, ('a',))\n",
    "keys that are not text": "    return {1: 2, None: 3, True: 4}\n",
    "set": COUNT + "    return {count}\n",
    "circular": "    it = []\n    it.append(it)\n    return it\n",
    "reply": "    return {'statusCode': 200, 'headers': {'a': 'b'}, 'body': '\\xe9'}\n",
    "prints": "    print('caf\\xe9\\n' * 3)\n    return 'printed'\n",
    "writes to descriptor 1": "    os.write(1, b'\\xff' * 10)\n    return 'written'\n",
    "context": (
        "    return [context.function_name, context.function_version, context.memory_limit_in_mb,\n"
        "            context.log_group_name, context.client_context, context.aws_request_id,\n"
        "            context.identity.cognito_identity_id]\n"
    ),
    "time left": "    return 0 < context.get_remaining_time_in_millis() <= 3000\n",
    "largest response": "    return 'x' * (6291556 - 2)\n",
    "raises": COUNT + "    raise ValueError(f'no {count} \\xe9')\n",
    "raises below": "    def below():\n        raise KeyError('a')\n    below()\n",
    "raises from": (
        "    try:\n        {}['a']\n    except KeyError as error:\n"
        "        raise ValueError('b') from error\n"
    ),
    "raises without text": "    raise ValueError\n",
    "raises a class of its own": "    raise type('Odd', (Exception,), {})(1, 'b')\n",
    "raises MemoryError": "    raise MemoryError\n",
}
"""Functions whose process goes on: they are in one module."""

ENDINGS = {
    "sys.exit without status": "    sys.exit()\n",
    "sys.exit 3": COUNT + "    sys.exit(3)\n",
    "os._exit 0": "    os._exit(0)\n",
    "os._exit 3": "    os._exit(3)\n",
    "kills itself": "    os.kill(os.getpid(), signal.SIGKILL)\n",
    "terminates itself": "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n",
    "exits every second time": COUNT + "    return count if count < 2 else os._exit(1)\n",
}

MODULES = {
    "no handler": "name = 1\n",
    "handler that is not a function": "handler = 'text'\n",
    "missing import": "import no_such_module_anywhere\n",
    "syntax error": "def handler(event, context)\n    return 1\n",
    "raises at import": "def below():\n    raise KeyError('caf\\xe9')\nbelow()\n",
    "loads once": "loaded = [0]\ndef handler(e, c):\n    loaded[0] += 1\n    return loaded\n",
}

ALL_BODIES = "import decimal, os, signal, sys, time\ncount = 0\nBODIES = {}\n" + "".join(
    f"def handler(event, context):\n{body}BODIES[{name!r}] = handler\n"
    for name, body in BODIES.items()
)
DISPATCH = """
def handler(event, context):
    return BODIES[event.pop("do")](event, context)
"""
EVENTS = {name: json.dumps({"do": name, **json.loads(EVENT)}).encode() for name in BODIES}

FUNCTIONS = {name: TOP + body for name, body in ENDINGS.items()} | MODULES
CLIENTS = {"bootstrap": OURS, "awslambdaric": AWSS}
BRIEFLY = {"os._exit 3", "missing import", "exits every second time", "crash"}
"""What is tried with AWS's client where no soak tries all of it: one of each kind of end."""


def clients_for(name: str) -> list[str]:
    return [*CLIENTS] if IS_SOAK or name in BRIEFLY else ["bootstrap"]


def exited(error_type: str, message: str) -> dict[str, str]:
    """Return a platform error as `parsed` has it."""
    return {"errorType": error_type, "errorMessage": f"RequestId: ID Error: {message}"}


@dataclass(frozen=True)
class Deviation:
    """Where the emulator is not AWS (lambda.md 1.11), and what it says instead."""

    reason: str
    code: str
    emulated: tuple[int, Any]
    """Status and payload."""
    ours: Any
    timeout_seconds: int = 3


DEVIATIONS = {
    "timeout": Deviation(
        "a bare text; AWS's payload is JSON since November 2025 (lambda.md 3.5)",
        TOP + "    time.sleep(60)\n",
        (200, "Task timed out after 1.00 seconds"),
        exited("Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        timeout_seconds=1,
    ),
    "crash": Deviation(
        "status 502; AWS answers 200 with X-Amz-Function-Error (lambda.md 1.11)",
        TOP + "    os._exit(3)\n",
        (502, exited("Runtime.ExitError", "Runtime exited with error: exit status 3")),
        exited("Runtime.ExitError", "Runtime exited with error: exit status 3"),
    ),
    "exits at import": Deviation(
        "no payload at all; AWS gives the exit error of the init (lambda.md 1.10)",
        "import sys\nsys.exit(3)\n",
        (502, ""),
        exited("Runtime.ExitError", "Runtime exited with error: exit status 3"),
    ),
    "killed at import": Deviation(
        "no payload at all; AWS gives the exit error of the init (lambda.md 1.10)",
        "import os\nos.kill(os.getpid(), 9)\n",
        (502, ""),
        exited("Runtime.ExitError", "Runtime exited with error: signal: killed"),
    ),
}


def parsed(payload: bytes, code: Path) -> Any:
    """Return what can be compared."""
    text = REQUEST_ID.sub("ID", payload.decode("latin-1"))
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and "stackTrace" in value:
        value["stackTrace"] = [it for it in value["stackTrace"] if str(code) in it]
    return value


def emulated(
    code: Path, events: Sequence[bytes], timeout_seconds: int = 3
) -> list[tuple[int, Any]]:
    """Return status and payload of an invocation with each event."""
    limit = {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_seconds)}
    with emulating(code, {**PATH, **VARIABLES, **limit}) as emulator:
        answers = [emulator.invoke(event) for event in events]
    return [(status, parsed(payload, code)) for status, payload in answers]


async def ours(
    code: Path, events: Sequence[bytes], client: str, timeout_seconds: int = 3
) -> list[Any]:
    """Return the payloads of the same invocations here."""
    settings = {"variables": VARIABLES, "timeout_seconds": float(timeout_seconds)}
    results: list[InvocationResult] = []
    while len(results) < len(events):
        async with world(Launcher(), code, command=CLIENTS[client], **settings) as it:
            while len(results) < len(events) and it.environment.readiness is not Readiness.SPENT:
                results.append(await it.call(events[len(results)]))
    return [parsed(result.payload, code) for result in results]


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_payloads_are_the_emulators(name: str, tmp_path: Path) -> None:
    code = write(tmp_path, app=FUNCTIONS[name])

    events = [EVENT] * TIMES
    theirs = [payload for _, payload in emulated(code, events)]

    for client in clients_for(name):
        assert await ours(code, events, client) == theirs, client


@pytest.mark.parametrize("client", CLIENTS)
async def test_payloads_of_functions_that_go_on_are_the_emulators(
    client: str, tmp_path: Path
) -> None:
    code = write(tmp_path, app=ALL_BODIES + DISPATCH)
    names = [name for name in BODIES for _ in range(TIMES)]
    events = [EVENTS[name] for name in names]

    theirs = [payload for _, payload in emulated(code, events)]
    found = await ours(code, events, client)

    pairs = zip(names, zip(found, theirs, strict=True), strict=True)
    different = {name: pair for name, pair in pairs if [pair[0]] != [pair[1]]}
    assert different == {}


@pytest.mark.parametrize("name", DEVIATIONS)
async def test_where_the_emulator_is_not_aws(name: str, tmp_path: Path) -> None:
    it = DEVIATIONS[name]
    code = write(tmp_path, app=it.code)

    theirs = emulated(code, [EVENT], it.timeout_seconds)

    assert theirs == [it.emulated], it.reason
    for client in clients_for(name):
        assert await ours(code, [EVENT], client, it.timeout_seconds) == [it.ours], it.reason

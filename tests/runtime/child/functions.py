"""Functions in environments as the command runs them: forked, executed, or by AWS's client."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.compose import environments
from gateway.config.function import Execution, Function
from gateway.config.process import Process
from gateway.core.invocation import Invocation, request_id
from gateway.core.notices import OperatorWarning
from gateway.telemetry.system import HexDraws, SystemClock
from gateway.testing import FakeSink

FORKED: dict[str, Any] = {}
EXECUTED: dict[str, Any] = {"environment": {"PYTHONHASHSEED": "0"}}
BY_AWS: dict[str, Any] = {"runtime_client": "awslambdaric"}
WAYS = [pytest.param(FORKED, id="forked"), pytest.param(EXECUTED, id="executed")]
WAYS_AND_AWSS = [*WAYS, pytest.param(BY_AWS, id="by AWS")]


def function(directory: Path, way: dict[str, Any], **files: str) -> Function:
    """Write the files of a function; its handler is app.handler."""
    code = directory / "code"
    for name, text in files.items():
        file = code / f"{name.replace('__', '/', 1)}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Function(**{"handler": "app.handler", "code": code, "timeout_seconds": 30.0, **way})


async def replies(
    directory: Path,
    way: dict[str, Any],
    *,
    times: int = 1,
    sink: FakeSink | None = None,
    **files: str,
) -> list[Any]:
    """Return what the handler's JSON says, time after time in one environment."""
    shop = function(directory, way, **files)
    shop = replace(shop, execution=Execution(concurrency=1, queue_timeout_seconds=20.0))
    found = []
    started = environments.running(shop, Process(), sink or FakeSink(), SystemClock(), HexDraws())
    async with started as it:
        for number in range(times):
            payload = json.dumps(number).encode()
            invocation = Invocation(request_id(HexDraws()(32)), shop.reference(), payload)
            found.append(json.loads((await it.pool.invoke(invocation)).payload))
    return found


def warnings(sink: FakeSink) -> list[str]:
    return [notice.text for notice in sink.notices if isinstance(notice, OperatorWarning)]


def interpreter(version: str) -> str | None:
    """Return a Python of this version that runs, from PATH or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*pyenv.glob(f"{version}.*/bin/python"), shutil.which(f"python{version}")]
    for python in filter(None, found):
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(python)
    return None

"""SIGHUP: everything is read again, and what fails is said; whole processes are in test_run.py."""

import asyncio
import os
import signal
import socket

import pytest

from gateway.compose.gateway import Gateway
from gateway.compose.reloads import Reload
from gateway.compose.running import RunningFunction
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.functions.service import FunctionService
from gateway.server.reload import reloading
from gateway.server.stage import Secured, Stage
from gateway.server.systemd import notifier
from gateway.testing import FakeInvoker, FakeSink

PATIENCE_SECONDS = 10.0
SHOP = Function("app.handler", name="shop")


@pytest.mark.parametrize("is_quiet", [True, False])
async def test_hangup_reads_certificates_and_code_again(
    capfd: pytest.CaptureFixture[str], *, is_quiet: bool
) -> None:
    reloaded: asyncio.Queue[str] = asyncio.Queue()

    async def swap(function: Function) -> str:
        reloaded.put_nowait(function.name)
        return "no module app"

    described = document(SHOP, port=0, is_quiet=is_quiet)
    reload = Reload(SHOP, swap, None, has_code=lambda: True)
    running = RunningFunction(FakeInvoker([]), "", reload)
    gateway = Gateway(described, {"shop": running}, FunctionService({}), {}, {})
    tls = Secured("", lambda *_: None, lambda: ["a certificate is gone"], lambda front: front)
    sink = FakeSink()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stage = Stage(described, sink, (listening,), notifier({}, lambda: 0.0), lambda _: None)
        async with asyncio.timeout(PATIENCE_SECONDS), reloading(gateway, (tls, None), stage):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)
                assert await reloaded.get() == "shop"

    assert {notice.text for notice in sink.notices} == {"a certificate is gone"}
    said = "gateway: not reloaded: no module app\n"
    assert capfd.readouterr().err.startswith(said) == is_quiet

"""Whose connections the Runtime API serves: real processes in and beside an environment."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.runtime import api
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_guard import Guard
from gateway.runtime.control_groups import ControlGroups
from gateway.runtime.peers import Sight
from gateway.runtime.process import MARKER, Members
from tests.runtime.api_client import NEXT, connected, post
from tests.runtime.api_rig import Fake
from tests.runtime.launching import Launched, abilities, launched, python_plan
from tests.soaking import soak_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for sockets"),
]

ASK = """
import os, socket, sys, threading
address = os.environ["API"]
def status(family=socket.AF_INET, prefix=""):
    with socket.socket(family) as it:
        host, port = address.split(":")
        it.settimeout(10)
        it.connect((prefix + host, int(port)))
        it.sendall(f"GET /2018-06-01/ping HTTP/1.1\\r\\nHost: {address}\\r\\n\\r\\n".encode())
        return it.recv(4096).split(b" ")[1].decode()
def say(text):
    os.write(1, f"{text}\\n".encode())
"""

THREAD = "thread = threading.Thread(target=lambda: say(status()))\nthread.start()\nthread.join()\n"
CHILD = "if os.fork() == 0:\n    say(status())\n    os._exit(0)\nos.wait()\n"
ORPHAN = """
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        say(status())
        os.write(writing, b"!")
    os._exit(0)
os.wait()
os.read(reading, 1)
"""
OWN_TABLE = """
import ctypes
def alone():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES: descriptors of its own
    say(status())
thread = threading.Thread(target=alone)
thread.start()
thread.join()
"""
SLEEP = "import time\ntime.sleep(60)\n"
MANY = """
held = [os.dup(0) for _ in range(900)]
say(status())
"""
CURL = """
import subprocess
url = f"http://{address}/2018-06-01/ping"
command = ["curl", "-so", "/dev/null", "-w", "%{http_code}", url]
say(subprocess.check_output(command).decode())
"""
WAYS = {
    "itself": "say(status())",
    "a thread": THREAD,
    "a child": CHILD,
    "an orphan": ORPHAN,
    "an IPv6 socket": "say(status(socket.AF_INET6, '::ffff:'))",
    "a thread with its own descriptors": OWN_TABLE,
    "behind many descriptors": MANY,
    "curl": CURL,
}


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both loops: they hand connections over differently."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@dataclass
class Owner:
    """Says which processes are in the environment."""

    marker: str = f"m-own-{os.getpid()}"
    """Of this process: another run of these tests kills all that bear its marker."""
    pid: int = 0
    groups: tuple[str, ...] = ()

    def __call__(self) -> Members:
        return Members(self.pid, self.groups, self.marker)


@asynccontextmanager
async def guarded(owner: Owner, platform: Fake | None = None) -> AsyncIterator[RuntimeApiServer]:
    server = RuntimeApiServer(platform or Fake(), Guard(Sight.PROCESS, owner))
    await server.start()
    try:
        yield server
    finally:
        server.close()
        await server.emptied()


@asynccontextmanager
async def running(code: str, server: RuntimeApiServer, owner: Owner) -> AsyncIterator[Launched]:
    """Start a process with the owner's mark, in its control groups."""
    variables = {"API": server.address, MARKER: owner.marker, "PATH": os.environ["PATH"]}
    plan = replace(python_plan(ASK + code, variables), cgroups=owner.groups)
    async with launched(plan) as it:
        yield it


@asynccontextmanager
async def grouped(owner: Owner) -> AsyncIterator[None]:
    if not abilities().hierarchies:
        pytest.skip("no control group can be made here")
    async with ControlGroups(abilities().hierarchies, memory_bytes=2**28, processes=64) as groups:
        owner.groups = groups.directories
        yield


GROUPS = pytest.mark.parametrize("groups", [grouped, nullcontext], ids=["groups", "no groups"])


async def said(it: Launched) -> str:
    async with asyncio.timeout(20):
        await asyncio.shield(it.process.exited)
    return it.text().strip()


@pytest.mark.parametrize(
    ("groups", "is_known"),
    [
        pytest.param(grouped, True, id="groups-known"),
        pytest.param(nullcontext, False, id="no groups-not yet known"),
        pytest.param(grouped, False, id="groups-not yet known", marks=soak_only),
        pytest.param(nullcontext, True, id="no groups-known", marks=soak_only),
    ],
)
@pytest.mark.parametrize("way", WAYS)
async def test_every_process_and_thread_of_the_environment_is_served(
    way: str, is_known: bool, groups: Callable[[Owner], Any]
) -> None:
    owner = Owner()
    async with guarded(owner) as server, groups(owner), running(WAYS[way], server, owner) as it:
        owner.pid = it.process.pid if is_known else 0

        assert await said(it) == "200"


@GROUPS
async def test_others_of_the_same_user_are_refused(groups: Callable[[Owner], Any]) -> None:
    owner, platform = Owner(), Fake()
    async with (
        guarded(owner, platform) as server,
        groups(owner),
        running(SLEEP, server, owner) as own,
    ):
        owner.pid = own.process.pid
        async with running(WAYS["itself"], server, Owner(f"m-sibling-{os.getpid()}")) as sibling:
            assert await said(sibling) == "403"
        for request in (NEXT, post("invocation/a/response"), post("init/error")):
            async with connected(server.address) as client:  # of the process of this test
                answer = await client.ask(request)
                assert answer.status == 403
                assert json.loads(answer.body)["errorType"] == "Forbidden"
                assert await client.is_at_end()

    assert platform.told == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused() -> None:
    owner = Owner(pid=os.getpid())
    async with guarded(owner) as server:
        assert await curled(server.address, user=None) == "200"  # curl is a child of this process
        assert await curled(server.address, user=65534) == "403"


async def curled(address: str, user: int | None) -> str:
    url = f"http://{address}/2018-06-01/ping"
    command = ("curl", "-so", "/dev/null", "-w", "%{http_code}", url)
    done = await asyncio.to_thread(
        subprocess.run, command, stdout=subprocess.PIPE, check=False, user=user
    )
    return done.stdout.decode()


async def test_a_user_is_told_from_another_where_processes_are_not_shown() -> None:
    told: list[bool] = []
    guard = Guard(Sight.USER, Owner())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        own = listening.getsockname()
        with socket.create_connection(own) as client:
            guard.judge(client.getsockname(), own, told.append)
        guard.judge(("127.0.0.1", 1), own, told.append)

    assert told == [True, False]


async def test_foreign_connections_take_no_place_of_the_environments() -> None:
    owner = Owner()
    async with guarded(owner) as server, AsyncExitStack() as stack:
        for _ in range(3 * api.CONNECTIONS):
            await stack.enter_async_context(connected(server.address))
        async with running(WAYS["itself"], server, owner) as it:
            owner.pid = it.process.pid

            assert await said(it) == "200"

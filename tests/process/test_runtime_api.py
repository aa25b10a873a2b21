"""The Runtime APIs of a whole gateway: callers, and what one environment can do to the rest."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.leftovers import memory_mb
from tests.e2e.serving import Gate, Server, gateway_command, get, serving
from tests.process.whole import bystander, without_control_groups
from tests.soaking import run_seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

CODE = Path(__file__).parent / "apps"
HANDLER = "runtime_api.handler"
SECONDS = run_seconds(0.7)
GROUPS = pytest.mark.parametrize("has_groups", [True, False], ids=["groups", "no groups"])


@contextmanager
def running(*options: str, has_groups: bool = True) -> Iterator[Server]:
    if has_groups:
        with serving(HANDLER, *options, "--timeout", "60", code=CODE) as server:
            yield server
        return
    if os.geteuid() != 0:
        pytest.skip("only root can hide the control groups")
    command = gateway_command("serve", HANDLER, "--code", str(CODE), "--port", "0", *options)
    with Server(without_control_groups([*command, "--timeout", "60"])) as server:
        yield server.wait_until_listening()


@contextmanager
def busy(server: Server, what: str) -> Iterator[None]:
    """Have one environment do something as long as the block lasts, or for SECONDS."""
    asking = threading.Thread(target=get, args=(server, f"/?do={what}"))
    asking.start()
    yield
    asking.join()


@GROUPS
def test_only_its_own_processes_reach_an_environment(has_groups: bool) -> None:
    gate = Gate()
    with running("--concurrency", "2", has_groups=has_groups) as server:
        _, first = get(server, "/")
        with busy(server, f"wait&gate={gate.path}"):
            gate.wait_entered()
            _, second = get(server, "/")
            _, own = get(server, f"/?do=curl&address={second.decode()}")
            _, foreign = get(server, f"/?do=curl&address={first.decode()}")
            gate.open()
        status, after = get(server, "/")
    gate.close()

    assert first != second
    assert json.loads(own) == ["200", "200"]  # its own event once more
    assert json.loads(foreign) == ["403", "403"]
    assert (status, after) == (200, first)  # undisturbed, and used last


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@GROUPS
def test_another_user_gets_no_event_and_answers_none(has_groups: bool) -> None:
    curl = shutil.which("curl")
    assert curl, "curl is not installed"
    gate = Gate()

    def asked(*arguments: str) -> str:
        command = [curl, "-s", "-m", "5", "-w", " %{http_code}", *arguments]
        return subprocess.run(command, stdout=-1, check=False, user=65534).stdout.decode()

    with running("--concurrency", "1", has_groups=has_groups) as server:
        _, address = get(server, "/")
        base = f"http://{address.decode()}/2018-06-01/runtime"
        idle = asked(f"{base}/invocation/next")
        with busy(server, f"wait&gate={gate.path}"):
            gate.wait_entered()
            during = asked(f"{base}/invocation/next")
            failed = asked("-d", "{}", f"{base}/init/error")
            answered = asked("-d", '{"statusCode":418}', f"{base}/invocation/x/response")
            gate.open()
        status, body = get(server, "/")
    gate.close()

    for told in (idle, during, failed, answered):
        assert told.endswith('"errorType":"Forbidden"} 403')
    assert (status, body) == (200, address)  # the same environment, undisturbed


def test_a_flood_of_requests_does_not_delay_a_sibling() -> None:
    with running("--concurrency", "3") as server:
        latencies = {}
        for what in ("spin", "flood"):  # what a core costs, and what the requests cost beyond it
            get(server, "/")
            with busy(server, f"{what}&seconds={SECONDS}"), bystander(server, rate=50) as client:
                client.join(SECONDS)
            latencies[what] = client.percentile(0.95)
            assert client.outcomes.keys() == {"200"}

    assert latencies["flood"] < max(20 * latencies["spin"], 0.1), latencies


def test_announced_answers_take_no_memory() -> None:
    gate = Gate()
    with running("--concurrency", "2") as server:
        get(server, "/")
        before = memory_mb(server.pid)
        with busy(server, f"announce&gate={gate.path}"):
            gate.wait_entered()
            held = memory_mb(server.pid) - before
            gate.open()
        status, _ = get(server, "/")
    gate.close()

    assert held < 30, f"{held} MB"
    assert status == 200


SHELL = """#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
while true; do
    curl -sD "/tmp/head" -o /dev/null "$api/invocation/next" || exit 1
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' "/tmp/head" | tr -d '\\r')
    curl -s -o /dev/null -d '{"statusCode":200,"body":"shell"}' "$api/invocation/$id/response"
done
"""

NODE = """#!/usr/bin/env node
const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
(async () => {
    for (;;) {
        const next = await fetch(`${api}/invocation/next`);
        const id = next.headers.get("lambda-runtime-aws-request-id");
        const body = JSON.stringify({statusCode: 200, body: "node"});
        await next.text();
        await (await fetch(`${api}/invocation/${id}/response`, {method: "POST", body})).text();
    }
})();
"""


@pytest.mark.parametrize(("name", "text"), [("shell", SHELL), ("node", NODE)])
def test_other_runtimes_are_let_in(tmp_path: Path, name: str, text: str) -> None:
    if name == "node" and not shutil.which("node"):
        pytest.skip("node is not installed")
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text(text)
    bootstrap.chmod(0o755)
    options = ("--runtime", "provided.al2023", "--memory-size", "512")
    with serving("any.handler", *options, code=tmp_path) as server:
        answers = {get(server, "/") for _ in range(5)}

    assert answers == {(200, name.encode())}


def test_awss_own_client_is_let_in() -> None:
    with running("--runtime-client", "awslambdaric") as server:
        assert {get(server, "/")[0] for _ in range(5)} == {200}

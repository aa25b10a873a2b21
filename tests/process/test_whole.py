"""The looks at a whole process see what is there: tests of the tests' own instrument."""

import subprocess
import sys
from os import geteuid

import pytest

from tests.e2e.serving import Process, serving
from tests.process.whole import bystander, cpu_seconds, look, without_control_groups

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

HOLDER = """
import socket, subprocess
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
sum(range(10_000_000))
print("ready", flush=True)
input()
"""


def test_look_counts_sockets_processes_and_cpu_time() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=-1, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        seen, seconds = look(process.pid), cpu_seconds(process.pid)
        process.kill()

    assert (seen.listening, seen.processes) == (3, 2)
    assert seen.descriptors >= 7
    assert seen.memory_mb > 1
    assert seconds > 0.05


def test_bystander_counts_answers_and_refusals() -> None:
    with serving("echo.handler", "--in-process", "--quiet") as server:
        with bystander(server, rate=200) as client:
            while len(client.latencies) < 20:
                client.join(0.01)
        before = client.outcomes.copy()
        with bystander(server, rate=200) as late:
            server.stop()
            while not late.outcomes["ConnectionRefusedError"]:
                late.join(0.01)

    assert before["200"] >= 20
    assert before.keys() == {"200"}
    assert 0 < client.percentile(0.5) <= client.percentile(0.99)


@pytest.mark.skipif(geteuid() != 0, reason="only root can hide the control groups")
def test_command_without_control_groups_sees_none() -> None:
    with Process(without_control_groups(["ls", "/sys/fs/cgroup"])) as listing:
        assert listing.wait() == 0
        assert listing.output.wait_for_end() == []

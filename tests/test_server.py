"""The socket and the signals; what happens to requests meanwhile is in tests/e2e."""

import errno
import signal
import socket
import sys

import pytest

from gateway.core.errors import InvalidSetting
from gateway.server import listening_socket, reason, url_of
from tests.e2e.serving import APPS, Process

PROGRAM = """
import os, sys
from pathlib import Path
from gateway import server
from gateway.config.settings import Function, Serving
from gateway.telemetry.fanout import Fanout

function = Function(sys.argv[1], Path(sys.argv[2]))
serving = Serving(function, port=0, is_in_process={in_process})
try:
    server.run(serving, Fanout([]), lambda url, isolation: [os.kill(os.getpid(), {number})] * 2)
except Exception as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
print("done")
"""

IN_BOTH_WAYS = pytest.mark.parametrize("in_process", [True, False], ids=["in-process", "isolated"])


def program(handler: str, number: int = signal.SIGTERM, *, in_process: bool) -> list[str]:
    text = PROGRAM.format(number=int(number), in_process=in_process)
    return [sys.executable, "-c", text, handler, str(APPS)]


def test_port_0_is_a_free_one() -> None:
    with listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        assert url_of(listening) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


def test_ipv6_address_has_brackets_in_the_url() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")

    with listening_socket("::1", 0) as listening:
        assert url_of(listening) == f"http://[::1]:{listening.getsockname()[1]}"


def test_port_in_use_is_refused_with_advice() -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(InvalidSetting) as caught:
            listening_socket("127.0.0.1", port)

    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another --port, 0 for any free one"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "..", "x" * 300])
def test_address_that_is_not_ours_is_refused_with_advice(host: str) -> None:
    with pytest.raises(InvalidSetting, match=r"choose another --host$"):
        listening_socket(host, 0)


def test_port_for_root_is_refused_with_advice() -> None:
    assert reason(PermissionError(errno.EACCES, "Permission denied")) == (
        "Permission denied; ports below 1024 are for root, choose another --port"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@IN_BOTH_WAYS
def test_signal_is_not_lost_while_the_listener_is_announced(
    number: int, *, in_process: bool
) -> None:
    with Process(program("echo.handler", number, in_process=in_process)) as process:
        assert process.wait() == 0
        assert process.output.wait_for_end() == ["done"]
        assert process.errors.wait_for_end() == []


@pytest.mark.slow
@IN_BOTH_WAYS
def test_setting_that_cannot_be_used_is_raised_as_it_is(*, in_process: bool) -> None:
    with Process(program("echo.no_such_handler", in_process=in_process)) as process:
        assert process.wait() == 1
        [line] = process.errors.wait_for_end()
        assert line.startswith("InvalidSetting: ")

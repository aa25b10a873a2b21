"""Inits that fail or take long: what is served, what is refused, and that nothing is left."""

import sys
from pathlib import Path

import pytest

from tests.cli.commands import process_refusal
from tests.e2e.leftovers import wait_until
from tests.e2e.serving import get, serving
from tests.process.bootstraps import answering, write_bootstrap
from tests.process.recording import recording
from tests.process.whole import Look, look
from tests.soaking import IS_SOAK, in_soak, soak_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

APPS = Path(__file__).parent / "apps"

GOOD = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'served'}\n"
FAILING = "raise ConnectionError('no database yet')\n"
EXITING = "import os; os._exit(3)\n"
SLOW = "import time\ntime.sleep(11)\n"

WAYS: dict[str, tuple[str, ...]] = {
    "forked": (),
    "executed": ("--env", "PYTHONHASHSEED=random"),
    "awslambdaric": ("--runtime-client", "awslambdaric"),
    "workers": ("--workers", "2"),
    "minimum": ("--min-environments", "2"),
    "reload": ("--reload",),
    "in-process": ("--in-process",),
    "in-process on the loop": ("--in-process", "--threads", "0"),
}


def serve(code: Path) -> tuple[str, ...]:
    return "serve", "app.handler", "--code", str(code), "--port", "0", "--quiet"


def settled(pid: int) -> tuple[int, int, int]:
    """Wait until nothing is being closed; return descriptors, processes and listening sockets."""
    seen: list[Look] = []

    def is_steady() -> bool:
        seen.append(look(pid))
        return len(seen) > 20 and len({counted(it) for it in seen[-20:]}) == 1

    wait_until(is_steady, lambda: seen[-3:])
    return counted(seen[-1])


def counted(it: Look) -> tuple[int, int, int]:
    return it.descriptors, it.processes, it.listening


@pytest.mark.parametrize(
    "way",
    [
        *("forked", "awslambdaric", "workers", "in-process"),
        *in_soak("executed", "minimum", "reload", "in-process on the loop"),
    ],
)
def test_init_that_fails_at_the_start_is_run_again_inside_an_invocation(
    way: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(FAILING)
    with serving("app.handler", *WAYS[way], code=tmp_path) as server:
        failed = get(server, "/")[0]
        (tmp_path / "app.py").write_text(GOOD)
        wait_until(lambda: get(server, "/") == (200, b"served"), server.output.text)
        server.output.wait_for("ConnectionError: no database yet")
        if way != "reload":  # which may have taken the good code in before it looks
            server.output.wait_for("init failed: .*; it is run again inside the next invocation")

    assert failed == 502


def test_bootstrap_that_fails_at_the_start_is_run_again(tmp_path: Path) -> None:
    write_bootstrap(tmp_path, "#!/bin/sh\nexit 3\n")
    with serving("app.handler", "--runtime", "provided.al2023", code=tmp_path) as server:
        failed = get(server, "/")[0]
        write_bootstrap(tmp_path, answering())
        served = get(server, "/")

    assert failed == 502
    assert served == (200, b"answered")


@soak_only  # 22 seconds each
@pytest.mark.parametrize("way", ["forked", "awslambdaric", "workers"])
def test_init_of_more_than_ten_seconds_is_served(way: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SLOW + GOOD)
    options = ("--timeout", "20", *WAYS[way])
    with serving("app.handler", *options, code=tmp_path) as server:
        assert get(server, "/") == (200, b"served")


@pytest.mark.parametrize(
    "way", ["forked", "workers", *in_soak("awslambdaric", "in-process", "reload")]
)
def test_init_that_fails_is_refused_if_asked(way: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FAILING)
    said = process_refusal(*serve(tmp_path), "--require-init", *WAYS[way])

    assert "ConnectionError: no database yet" in said or "ended with status 2" in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "Handler 'handler' missing on module 'app'"),
        ("def handler(\n", "Runtime.UserCodeSyntaxError: Syntax error in module 'app'"),
        ("import nothing_like_it\n", "No module named 'nothing_like_it'"),
    ],
)
@pytest.mark.parametrize("way", ["in-process", *in_soak("forked", "awslambdaric")])
def test_handler_that_is_not_there_is_refused(
    way: str, source: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(source)

    assert words in process_refusal(*serve(tmp_path), *WAYS[way])


def test_bootstrap_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = process_refusal(*serve(tmp_path), "--runtime", "provided.al2023")

    assert "bootstrap" in said


@pytest.mark.parametrize("count", [1, 3])
def test_minimum_is_started_once(count: int) -> None:
    with recording() as (pipe, lines):
        options = ("--min-environments", str(count), "--env", f"RECORD={pipe}", "--quiet")
        with serving("recorded.handler", *options, code=APPS) as server:
            assert get(server, "/1")[0] == 200
            lines.wait_for(r"^end \d+ /1$")
        ready = [line for line in lines() if line.startswith("ready")]

    assert len(ready) == count


@pytest.mark.parametrize(
    ("way", "source"),
    [
        ("forked", EXITING),
        ("awslambdaric", FAILING),
        pytest.param("forked", FAILING, marks=soak_only),
        pytest.param("executed", FAILING, marks=soak_only),
        pytest.param("executed", EXITING, marks=soak_only),
        pytest.param("awslambdaric", EXITING, marks=soak_only),
    ],
)
def test_failed_inits_leave_nothing_behind(way: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source)
    options = ("--concurrency", "2", *WAYS[way])
    with serving("app.handler", *options, code=tmp_path) as server:
        statuses = {get(server, "/")[0] for _ in range(3)}
        before = settled(server.pid)
        statuses |= {get(server, "/")[0] for _ in range(20 if IS_SOAK else 5)}
        after = settled(server.pid)

    assert statuses == {502}
    assert after == before

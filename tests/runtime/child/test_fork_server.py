"""What a forked child is: as good as a freshly executed interpreter, and no other environment's."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.runtime.fork_client import ForkServer
from gateway.runtime.launch import Outlets, Plan
from tests.runtime.forking import Forks, forking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="children of macOS are executed"),
]

WAIT = "import signal\nprint('ready', flush=True)\nsignal.pause()"


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    async with forking(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("script", "status", "output"),
    [
        ("", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('words')", 1, "words\n"),
        ("import os; os._exit(7)", 7, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os; os.kill(os.getpid(), 15)", -15, ""),
        ("import os; os.kill(os.getpid(), 10)", -10, ""),
        ("print('kept')", 0, "kept\n"),
        ("import atexit; atexit.register(print, 'late'); print('early')", 0, "early\nlate\n"),
        (
            "import threading, time; threading.Timer(0.01, print, ['thread']).start()",
            0,
            "thread\n",
        ),
    ],
)
async def test_child_ends_as_an_interpreter_does(
    forks: Forks, script: str, status: int, output: str
) -> None:
    assert await forks.run(script) == (status, output)


async def test_exception_ends_a_child_with_its_traceback(forks: Forks) -> None:
    status, output = await forks.run("def f():\n    raise ValueError('bad')\nf()")

    assert status == 1
    assert output.startswith("Traceback (most recent call last):\n")
    assert output.endswith("ValueError: bad\n")


async def test_interrupt_ends_a_child_by_the_signal(forks: Forks) -> None:
    status, output = await forks.run("import os; os.kill(os.getpid(), 2)")

    assert status == -signal.SIGINT
    assert output.endswith("KeyboardInterrupt\n")


async def test_standard_streams_are_those_of_a_fresh_interpreter(forks: Forks) -> None:
    script = """
        import sys
        streams = [sys.stdin, sys.stdout, sys.stderr]
        assert streams == [sys.__stdin__, sys.__stdout__, sys.__stderr__]
        [(s.name, s.mode, s.encoding, s.errors, s.line_buffering) for s in streams]
    """

    assert await forks.answer(script) == [
        ("<stdin>", "r", "utf-8", "surrogateescape", False),
        ("<stdout>", "w", "utf-8", "surrogateescape", False),
        ("<stderr>", "w", "utf-8", "backslashreplace", True),
    ]


async def test_modules_of_the_function_come_first(forks: Forks, tmp_path: Path) -> None:
    (forks.code / "app.py").write_text("name = 'mine'\n")
    (forks.code / "queue.py").write_text("name = 'mine too'\n")
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "layered.py").write_text("name = 'of the layer'\n")
    script = """
        import sys, app, queue, layered, json, orjson
        [sys.path, app.name, queue.name, layered.name, json.dumps(1), orjson.loads(b'1')]
    """

    path, *found = await forks.answer(
        script, LAMBDA_TASK_ROOT=str(forks.code), _GATEWAY_LAYERS=str(layer)
    )

    assert found == ["mine", "mine too", "of the layer", "1", 1]
    assert path[:2] == [str(forks.code), str(layer)]
    assert len(path) == len(set(path))
    site_packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    assert set(site_packages) <= set(path)
    assert not any("stubs" in entry or "gateway/runtime" in entry for entry in path)


async def test_function_with_its_own_orjson_gets_that(forks: Forks) -> None:
    (forks.code / "orjson").mkdir()
    (forks.code / "orjson/__init__.py").write_text("name = 'mine'\n")
    script = "import orjson\norjson.name"

    assert await forks.answer(script, LAMBDA_TASK_ROOT=str(forks.code)) == "mine"


async def test_main_module_and_arguments_are_those_of_the_bootstrap(forks: Forks) -> None:
    script = "import sys, __main__\n[sys.argv, __main__.__file__]"
    arguments, file = await forks.answer(script)

    assert arguments == [file]
    assert file.endswith("stubs/__main__.py")


async def test_signals_have_the_dispositions_of_a_fresh_interpreter(forks: Forks) -> None:
    script = """
        import signal
        kinds = {n: signal.getsignal(n) for n in signal.valid_signals()}
        odd = {int(n) for n, kind in kinds.items() if kind not in (signal.SIG_DFL, None)}
        python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        [sorted(odd), python, signal.pthread_sigmask(signal.SIG_BLOCK, [])]
    """

    odd, is_python, blocked = await forks.answer(script)

    assert odd == [signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ]
    assert is_python
    assert blocked == set()


async def test_server_ignores_interrupts(forks: Forks) -> None:
    await forks.run("")
    before = forks.server.pid
    os.killpg(before or 0, signal.SIGINT)

    assert await forks.run("") == (0, "")
    assert forks.server.pid == before


async def test_preloaded_modules_are_frozen_and_the_collector_works(forks: Forks) -> None:
    script = "import gc, sys\n[gc.isenabled(), gc.get_freeze_count(), 'http.client' in sys.modules]"
    is_enabled, frozen, is_loaded = await forks.answer(script)

    assert is_enabled
    assert frozen > 10_000
    assert is_loaded


async def test_children_draw_different_random_numbers(forks: Forks) -> None:
    script = "import random, uuid\n(random.random(), str(uuid.uuid4()))"
    drawn = [await forks.answer(script) for _ in range(2)]

    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


REPLIES = [
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: 0\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
]


async def test_function_runs_in_the_real_sandbox_and_the_real_loop(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def get(event, context):\n    return {'statusCode': 204}\n")
    posted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.writelines(REPLIES)
        head = await reader.readuntil(b"\r\n\r\n")
        posted.set_result(head + await reader.read(18))
        writer.close()

    api = await asyncio.start_server(serve, "127.0.0.1")
    host, port = api.sockets[0].getsockname()
    environ = {
        "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}",
        "_HANDLER": "app.get",
        "LAMBDA_TASK_ROOT": str(tmp_path),
    }
    async with api, ForkServer() as server:
        plan = Plan((), environ, str(tmp_path))
        process = await server.start(plan, Outlets(2, 2))
        answer = await asyncio.wait_for(posted, 20)
        status = await asyncio.wait_for(process.exited, 20)

    assert answer.startswith(b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\n")
    assert answer.endswith(b'{"statusCode":204}')
    assert status == 0

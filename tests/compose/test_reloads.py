"""A reload of a function in this process: real files, really watched."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from gateway.compose.reloads import InProcessSwap, Reload, set_variables, watched
from gateway.config.command_line import document
from gateway.config.environment import environment
from gateway.config.function import Function
from gateway.core.errors import Throttled
from gateway.core.invocation import FunctionRef, Invocation
from gateway.core.notices import FunctionReloaded, Notice
from gateway.invokers.code import Handler, HandlerCode
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.runtime.child.bootstrap import InitError
from gateway.runtime.child.lambda_context import FunctionSettings
from gateway.telemetry.system import SystemClock

PATIENCE_SECONDS = 10.0

NAME = "gw_reloaded"


class WaitingSink:
    """A Sink whose notices can be waited for."""

    def __init__(self) -> None:
        self._notices: asyncio.Queue[Notice] = asyncio.Queue()

    def emit(self, notice: Notice, /) -> None:
        self._notices.put_nowait(notice)

    async def wait_notice(self) -> Notice:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._notices.get()


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[None]:
    """Forget what a test imported and where from."""
    path = sys.path[:]
    yield
    sys.path[:] = path
    sys.modules.pop(NAME, None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A code directory with a handler that answers "first"."""
    path = tmp_path / "code"
    path.mkdir()
    save(path, "first")
    return path


def save(directory: Path, answer: str) -> None:
    save_text(directory, f"def handler(event, context):\n    return {answer!r}\n")


def save_text(directory: Path, text: str) -> None:
    """Put the whole file in place at once, so that the watch sees one change."""
    written = directory / "being_written"
    written.write_text(text)
    written.replace(directory / f"{NAME}.py")


@asynccontextmanager
async def reloading(
    directory: Path,
    sink: WaitingSink,
    kind: type[HandlerCode] = HandlerCode,
    function: Function | None = None,
) -> AsyncIterator[InProcess]:
    """An invoker whose code is watched from the entry on."""
    function = function or Function(f"{NAME}.handler", directory)
    code = kind(function.handler, directory)
    settings = InProcessSettings(code.handler, threads=1)
    async with InProcess(
        settings, code.load(), function=FunctionSettings(), clock=SystemClock()
    ) as invoker:
        reload = Reload(
            function,
            InProcessSwap(code, invoker, function),
            sink,
            has_code=lambda: not isinstance(invoker.handler, InitError),
        )
        async with watched(document(function, is_reloading=True), function, reload, sink):
            yield invoker


async def answer(invoker: InProcess) -> object:
    result = await invoker.invoke(Invocation("id", FunctionRef("shop", "", ""), b"{}"))
    return json.loads(result.payload)


async def test_save_brings_the_new_code(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        before = await answer(invoker)
        save(directory, "second")
        notice = await sink.wait_notice()
        after = await answer(invoker)

    assert notice == FunctionReloaded(f"{NAME}.handler")
    assert (before, after) == ("first", "second")


KEPT = "\nthe code before it goes on serving"


@pytest.mark.slow
async def test_code_before_a_broken_save_goes_on_serving(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        save_text(directory, "def handler(:\n")
        broken = await sink.wait_notice()
        meanwhile = await answer(invoker)
        save(directory, "fixed")
        fixed = await sink.wait_notice()
        after = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert broken.error.startswith(f"Runtime.UserCodeSyntaxError: Syntax error in module '{NAME}'")
    assert broken.error.endswith(f'{NAME}.py" Line 1\n    def handler(:{KEPT}')
    assert meanwhile == "first"
    assert (fixed, after) == (FunctionReloaded(f"{NAME}.handler"), "fixed")


async def test_code_that_exits_while_it_is_imported_is_an_error_like_any_other(
    directory: Path,
) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        save_text(directory, "raise SystemExit(3)\n")
        broken = await sink.wait_notice()
        meanwhile = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert broken.error == f"Runtime.ExitError: Runtime exited with error: exit status 3{KEPT}"
    assert meanwhile == "first"


async def test_handler_that_is_not_callable_leaves_the_one_before(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        save_text(directory, "handler = 3\n")
        broken = await sink.wait_notice()
        meanwhile = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert broken.error == f"the handler is a int, not a function{KEPT}"
    assert meanwhile == "first"


async def test_latest_error_answers_as_long_as_nothing_could_be_loaded(directory: Path) -> None:
    sink = WaitingSink()
    save_text(directory, "raise ValueError('one')\n")

    async with reloading(directory, sink) as invoker:
        first = await answer(invoker)
        save_text(directory, "raise ValueError('two')\n")
        broken = await sink.wait_notice()
        second = await answer(invoker)
        save(directory, "fixed")
        await sink.wait_notice()
        after = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert KEPT not in broken.error
    assert (first["errorMessage"], second["errorMessage"], after) == ("one", "two", "fixed")


async def test_modules_before_a_broken_save_can_still_be_imported(directory: Path) -> None:
    sink = WaitingSink()
    (directory / f"{NAME}_words.py").write_text("WORD = 'old'\n")
    save_text(
        directory,
        f"def handler(event, context):\n    from {NAME}_words import WORD\n    return WORD\n",
    )

    async with reloading(directory, sink) as invoker:
        before = await answer(invoker)
        save_text(directory, "broken(\n")
        await sink.wait_notice()
        (directory / f"{NAME}_words.py").write_text("WORD = 'new'\n")
        await sink.wait_notice()
        meanwhile = await answer(invoker)

    assert (before, meanwhile) == ("old", "old")
    sys.modules.pop(f"{NAME}_words")


@pytest.fixture
def shop(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    """A function that answers with a variable of a file beside its code."""
    save_text(
        directory,
        "import os\nWORD = os.environ.get('GW_WORD')\n"
        "def handler(event, context):\n    return WORD\n",
    )
    file = tmp_path / "variables"
    file.write_text("GW_WORD=one\n")
    read = environment(["GW_OTHER=x"], file)
    for name in ("GW_WORD", "GW_OTHER"):
        monkeypatch.delenv(name, raising=False)
    set_variables({}, read)
    yield Function(
        f"{NAME}.handler",
        directory,
        environment=read,
        environment_pairs=("GW_OTHER=x",),
        environment_file=file,
    )
    set_variables(read, {})


async def test_file_of_variables_is_read_again(shop: Function, directory: Path) -> None:
    sink = WaitingSink()
    assert shop.environment_file

    async with reloading(directory, sink, function=shop) as invoker:
        before = await answer(invoker)
        replaced(shop.environment_file, "GW_WORD=two\n")
        taken = await sink.wait_notice()
        after = await answer(invoker)
        replaced(shop.environment_file, "GW_OTHER=y\n")
        await sink.wait_notice()
        gone, other = await answer(invoker), os.environ["GW_OTHER"]

    assert taken == FunctionReloaded(f"{NAME}.handler")
    assert (before, after, gone, other) == ("one", "two", None, "x")


def replaced(path: Path, text: str) -> None:
    """Put another file in the place of one, as editors do."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


async def test_variables_before_a_broken_save_stay(shop: Function, directory: Path) -> None:
    sink = WaitingSink()
    assert shop.environment_file

    async with reloading(directory, sink, function=shop) as invoker:
        replaced(shop.environment_file, "not a variable\n")
        unread = await sink.wait_notice()
        save_text(directory, "broken(\n")
        replaced(shop.environment_file, "GW_WORD=two\n")
        await sink.wait_notice()
        while os.environ["GW_WORD"] != "one":  # the second save is being taken in
            await sink.wait_notice()
        meanwhile, variable = await answer(invoker), os.environ["GW_WORD"]

    assert isinstance(unread, FunctionReloaded)
    assert "needs the form KEY=VALUE" in unread.error
    assert (meanwhile, variable) == ("one", "one")


async def test_what_the_gateway_writes_into_the_code_does_not_count_as_a_save(
    directory: Path,
) -> None:
    sink, calls = WaitingSink(), list[None]()

    async def reload() -> str:
        calls.append(None)
        sink.emit(FunctionReloaded("x"))
        return ""

    log = directory / "access.log"
    function = Function(f"{NAME}.handler", directory)
    described = document(function, is_reloading=True, access_log=str(log))
    async with watched(described, function, reload, sink):
        log.write_text("one line\n")
        (directory / "data.bin").write_bytes(b"x")
        await sink.wait_notice()
        log.write_text("another line\n")
        (directory / "other.bin").write_bytes(b"x")
        await sink.wait_notice()

    assert len(calls) == 2


async def test_reloads_come_one_after_the_other() -> None:
    running: list[int] = []
    most: list[int] = []

    async def swap(_function: Function) -> str:
        running.append(1)
        most.append(len(running))
        await asyncio.to_thread(lambda: None)
        running.pop()
        return ""

    told = Reload(Function("app.handler"), swap, None, has_code=lambda: True)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(told())

    assert most == [1, 1, 1]


async def test_file_beside_the_code_brings_a_reload(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink):
        (directory / "prices.json").write_text("{}")
        notice = await sink.wait_notice()

    assert notice == FunctionReloaded(f"{NAME}.handler")


class ImportGate(ModuleType):
    """A module that holds up its importers until the test lets them through."""

    def __init__(self) -> None:
        super().__init__("gw_import_gate")
        self.begun = threading.Semaphore(0)
        self.passes = threading.Semaphore(0)
        self.thread = threading.current_thread()
        self.has_passed = False

    def wait(self) -> None:
        self.thread = threading.current_thread()
        self.begun.release()
        self.passes.acquire(timeout=PATIENCE_SECONDS)
        self.has_passed = True


def test_import_that_never_ends_keeps_neither_loop_nor_process(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = ImportGate()
    monkeypatch.setitem(sys.modules, gate.__name__, gate)

    async def main() -> None:
        async with reloading(directory, WaitingSink()):
            save_text(directory, "import gw_import_gate\ngw_import_gate.wait()\n")
            assert await asyncio.to_thread(gate.begun.acquire, timeout=PATIENCE_SECONDS)

    asyncio.run(main())
    has_passed = gate.has_passed
    gate.passes.release()
    gate.thread.join(PATIENCE_SECONDS)

    assert gate.thread.daemon
    assert not has_passed


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), Throttled("full"), KeyError("x")]
)
async def test_reload_that_cannot_be_done_says_why_and_the_next_save_is_taken_in(
    directory: Path, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = [error]

    class Broken(HandlerCode):
        def reload(self) -> Handler | InitError:
            if errors:
                raise errors.pop()
            return super().reload()

    sink = WaitingSink()

    async with reloading(directory, sink, Broken) as invoker:
        save(directory, "second")
        failed = await sink.wait_notice()
        save(directory, "third")
        assert await sink.wait_notice() == FunctionReloaded(f"{NAME}.handler")
        assert await answer(invoker) == "third"

    assert failed == FunctionReloaded(
        f"{NAME}.handler", f"{error!r}\nthe code before it goes on serving"
    )
    assert repr(error) in capsys.readouterr().err

"""Real files, really watched."""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
from anyio.lowlevel import checkpoint

from gateway.core.invocation import FunctionRef, Invocation
from gateway.core.notices import FunctionReloaded, Notice, OperatorWarning
from gateway.invokers.code import HandlerCode
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.invokers.reload import reload_on_change
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
    directory: Path, sink: WaitingSink, kind: type[HandlerCode] = HandlerCode
) -> AsyncIterator[InProcess]:
    """An invoker whose code is watched; the watch stands once this is entered."""
    code = kind(f"{NAME}.handler", directory)
    settings = InProcessSettings(code.handler, threads=1)
    function = FunctionSettings()
    async with (
        InProcess(settings, code.load(), function=function, clock=SystemClock()) as invoker,
        asyncio.TaskGroup() as tasks,
    ):
        watch = tasks.create_task(reload_on_change(code, invoker, sink))
        await checkpoint()
        yield invoker
        watch.cancel()


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


@pytest.mark.slow
async def test_syntax_error_answers_until_it_is_mended(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        save_text(directory, "def handler(:\n")
        broken = await sink.wait_notice()
        fault = await answer(invoker)
        save(directory, "mended")
        mended = await sink.wait_notice()
        after = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert broken.error.startswith(f"Runtime.UserCodeSyntaxError: Syntax error in module '{NAME}'")
    assert broken.error.endswith(f'{NAME}.py" Line 1\n    def handler(:')
    assert fault["errorType"] == "Runtime.UserCodeSyntaxError"
    assert (mended, after) == (FunctionReloaded(f"{NAME}.handler"), "mended")


async def test_code_that_exits_while_it_is_imported_is_an_error_like_any_other(
    directory: Path,
) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink) as invoker:
        save_text(directory, "raise SystemExit(3)\n")
        broken = await sink.wait_notice()
        fault = await answer(invoker)

    assert isinstance(broken, FunctionReloaded)
    assert broken.error == "Runtime.ExitError: Runtime exited with error: exit status 3"
    assert fault["errorType"] == "Runtime.ExitError"


async def test_file_beside_the_code_brings_a_reload(directory: Path) -> None:
    sink = WaitingSink()

    async with reloading(directory, sink):
        (directory / "prices.json").write_text("{}")
        notice = await sink.wait_notice()

    assert notice == FunctionReloaded(f"{NAME}.handler")


class ImportGate(ModuleType):
    """A module that holds up whoever imports from it and asks to be let through."""

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


async def test_reload_that_cannot_be_done_ends_the_watch_and_says_why(directory: Path) -> None:
    class Broken(HandlerCode):
        def reload(self) -> InitError:
            raise RuntimeError("symlink loop")

    sink = WaitingSink()

    async with reloading(directory, sink, Broken):
        save(directory, "second")
        notice = await sink.wait_notice()

    assert isinstance(notice, OperatorWarning)
    assert notice.text.endswith(": symlink loop")


@pytest.fixture
def code_that_went(directory: Path) -> HandlerCode:
    code = HandlerCode(f"{NAME}.handler", directory)
    directory.rename(directory.parent / "moved")
    return code


async def test_directory_that_cannot_be_watched_is_served_without(
    code_that_went: HandlerCode,
) -> None:
    sink = WaitingSink()
    settings = InProcessSettings(code_that_went.handler)
    invoker = InProcess(settings, print, function=FunctionSettings(), clock=SystemClock())

    await reload_on_change(code_that_went, invoker, sink)
    notice = await sink.wait_notice()

    directory = code_that_went.directory
    assert isinstance(notice, OperatorWarning)
    assert notice.text.startswith(f"not reloading: {directory} cannot be watched: ")

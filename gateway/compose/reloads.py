"""What a reload takes in, what asks for one, and what is said of it.

SIGHUP and, with --reload, every save of a file ask for the same: code, layers and the file of
variables are read again. What cannot be loaded leaves the code and the variables before it in use,
in this process as in execution environments.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from gateway.config.document import Document
from gateway.config.function import Function
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.notices import FunctionReloaded
from gateway.invokers.code import HandlerCode
from gateway.invokers.in_process import InProcess
from gateway.invokers.reload import WATCH_TURNS, error_lines, on_change, reloaded
from gateway.invokers.watched import Outputs, find_places
from gateway.runtime.child.bootstrap import InitError
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.system import turns_of_the_loop
from gateway.telemetry.writer import to_stderr

Swap = Callable[[Function], Awaitable[str]]
"""Takes a function in as its files are now; returns what went wrong, and then the old goes on, or
nothing."""


class InProcessSwap:
    """A Swap of the function that shares this process."""

    def __init__(self, code: HandlerCode, invoker: InProcess, function: Function) -> None:
        self._code = code
        self._invoker = invoker
        self._function = function

    async def __call__(self, function: Function) -> str:
        """Read variables and code again and use them; returns why not."""
        try:
            fresh = await asyncio.to_thread(function.read_again)
        except InvalidSetting as error:
            return str(error)
        before = self._function.environment
        set_variables(before, fresh.environment)
        handler = await reloaded(self._code)
        if isinstance(handler, InitError) or not callable(handler):
            if not isinstance(self._invoker.handler, InitError):
                set_variables(fresh.environment, before)
                return failure_of(handler)
            self._invoker.replace(handler)  # nothing has served yet: the latest error answers
            return failure_of(handler)
        self._function = fresh
        self._invoker.replace(handler)
        return ""


def failure_of(handler: object) -> str:
    """Return why what was loaded cannot serve."""
    return error_lines(handler) or f"the handler is a {type(handler).__name__}, not a function"


def set_variables(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Give this process the function's variables in place of those that it had."""
    for name in before.keys() - after.keys():
        os.environ.pop(name, None)
    os.environ.update(after)
    time.tzset()


async def attempted(reload: Callable[[], Awaitable[str]]) -> str:
    """Run a reload; returns what went wrong, a defect of ours, too."""
    try:
        return await reload()
    except Exception as error:  # noqa: BLE001 - what serves must go on
        to_stderr(f"gateway: the reload failed: {error!r}")
        return repr(error)


class Reload:
    """Reloads one function, one reload at a time, and tells the sink what became of each."""

    def __init__(
        self, function: Function, swap: Swap, sink: Sink | None, *, has_code: Callable[[], bool]
    ) -> None:
        """`has_code` says whether there is code before it that goes on serving."""
        self._function = function
        self._swap = swap
        self._sink = sink
        self._has_code = has_code
        self._lock = asyncio.Lock()

    async def __call__(self, function: Function | None = None) -> str:
        """Take in the files as they are now, or other settings; returns what went wrong."""
        async with self._lock:
            asked = function or self._function
            failure = await attempted(partial(self._swap, asked))
            if not failure:
                self._function = asked
        if self._sink is not None:
            kept = "\nthe code before it goes on serving" if self._has_code() else ""
            said = f"{failure}{kept}" if failure else ""
            self._sink.emit(FunctionReloaded(asked.handler, said))
        return failure


@asynccontextmanager
async def watched(
    document: Document,
    function: Function,
    reload: Callable[[], Awaitable[object]],
    sink: Sink | None,
) -> AsyncIterator[None]:
    """Reload after every save until the block ends, where that was asked for."""
    if not document.process.is_reloading:
        yield
        return
    files = [function.environment_file] if function.environment_file else []
    find = partial(find_places, (function.code, *function.layers), files)
    outputs = Outputs(document.outputs())
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(on_change(find, outputs, reload, sink or Fanout([])))
        await turns_of_the_loop(WATCH_TURNS)  # before the listener is announced
        yield
        watch.cancel()

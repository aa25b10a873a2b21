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

from gateway.config.settings import Function, Serving
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

Reload = Callable[[], Awaitable[str]]
"""Takes in what has changed on the disk; returns what went wrong, and then the old goes on, or
nothing."""


class InProcessReload:
    """A Reload of a function that shares this process."""

    def __init__(self, code: HandlerCode, invoker: InProcess, function: Function) -> None:
        self._code = code
        self._invoker = invoker
        self._function = function

    async def __call__(self) -> str:
        """Read variables and code again and use them; returns why not."""
        try:
            fresh = await asyncio.to_thread(self._function.read_again)
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


async def attempted(reload: Reload) -> str:
    """Run a reload; returns what went wrong, a defect of ours, too."""
    try:
        return await reload()
    except Exception as error:  # noqa: BLE001 - what serves must go on
        to_stderr(f"gateway: the reload failed: {error!r}")
        return repr(error)


def reported(
    reload: Reload, handler: str, sink: Sink | None, *, has_code: Callable[[], bool]
) -> Reload:
    """Return a reload, one at a time, that also tells the sink what became of it; `has_code` says
    whether there is code before it that goes on serving."""
    lock = asyncio.Lock()

    async def told() -> str:
        async with lock:
            failure = await attempted(reload)
        if sink is not None:
            kept = "\nthe code before it goes on serving" if has_code() else ""
            sink.emit(FunctionReloaded(handler, f"{failure}{kept}" if failure else ""))
        return failure

    return told


@asynccontextmanager
async def watched(serving: Serving, reload: Reload, sink: Sink | None) -> AsyncIterator[None]:
    """Reload after every save until the block ends, where that was asked for."""
    if not serving.is_reloading:
        yield
        return
    function = serving.function
    files = [function.environment_file] if function.environment_file else []
    find = partial(find_places, (function.code, *function.layers), files)
    own = filter(None, (serving.access_log, serving.function_logs, serving.uds))
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(on_change(find, Outputs(own), reload, sink or Fanout([])))
        await turns_of_the_loop(WATCH_TURNS)  # before the listener is announced
        yield
        watch.cancel()

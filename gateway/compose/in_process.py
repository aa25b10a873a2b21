"""A function of the document that shares this process."""

import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from gateway.compose import environments
from gateway.compose.reloads import InProcessSwap, Reload, watched
from gateway.compose.running import RunningFunction
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.config.variables import function_variables
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning
from gateway.invokers.capture import captured_streams, current_request_id
from gateway.invokers.code import HandlerCode
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.runtime.child.bootstrap import InitError
from gateway.runtime.child.lambda_context import FunctionSettings
from gateway.runtime.child.logs import configure_logging
from gateway.runtime.interpreter import named, own, own_runtime, unused_environment
from gateway.runtime.slots import InitFailed
from gateway.telemetry.system import CLOCK, HexDraws

IN_PROCESS = "in-process: invocations share one interpreter, which AWS never does"


def variables(function: Function) -> dict[str, str]:
    """Return the variables of a function that starts now."""
    date = time.strftime("%Y/%m/%d", time.gmtime(CLOCK.now()))
    return function_variables(function, os.environ, date=date, log_stream_id=HexDraws()(32))


@contextmanager
def function_process(function: Function) -> Iterator[None]:
    """Make this process a Lambda function's: its variables, AWS's log format, output per
    invocation."""
    os.environ.update(variables(function))
    time.tzset()
    with captured_streams():
        configure_logging(current_request_id)
        yield


def code_of(function: Function, sink: Sink | None) -> HandlerCode:
    """Return the code of a function that shares this process, and tell the sink what it shares;
    raises InvalidSetting for another interpreter, which only an environment can have."""
    check_shared(function)
    code = HandlerCode(function.handler, function.code, function.layers)
    if sink is not None:
        for note in sharing(code, unused_environment(function.code)):
            sink.emit(OperatorWarning(note))
    return code


def sharing(code: HandlerCode, unused: Path | None) -> Iterator[str]:
    """Yield what an in-process handler finds that it may not expect."""
    if shared := ", ".join(code.shared_modules()):
        yield (
            f"in-process: the gateway has loaded {shared}, so the function's own copy is not used; "
            "serve without --in-process to have it used"
        )
    if unused:
        yield (
            f"in-process: the handler runs under {sys.executable}, not in {unused}; install the "
            "gateway there, or serve without --in-process"
        )


def check_shared(function: Function) -> None:
    """Raise InvalidSetting for options that a function in this process cannot have."""
    is_other = function.python and named(function.python) != sys.executable
    options = {
        "--python": is_other,
        f"--runtime {function.runtime}": function.runtime not in {"", own_runtime()},
        "--strict-packages": function.strict_packages,
    }
    for option in (name for name, value in options.items() if value):
        raise InvalidSetting(
            f"{option} is for execution environments: an in-process handler runs under "
            f"{sys.executable}; leave out --in-process"
        )


def in_process(function: Function, code: HandlerCode) -> InProcess:
    """Return the invoker that runs the handler in this process."""
    threads = function.execution.worker_threads()
    settings = InProcessSettings(function.handler, function.timeout_seconds, threads)
    # An embedding process keeps its variables, but the context names the function there too.
    context = FunctionSettings.from_environ({**variables(function), **os.environ})
    return InProcess(settings, code.load(), function=context, clock=CLOCK, reload=code.reload)


@asynccontextmanager
async def running(
    document: Document, function: Function, sink: Sink | None
) -> AsyncIterator[RunningFunction]:
    """Load the function, start its workers and, if asked, the watch over its files."""
    code = code_of(function, sink)
    async with in_process(function, code) as invoker:
        swap = InProcessSwap(code, invoker, function)
        reload = Reload(function, swap, sink, has_code=partial(has_loaded, invoker))
        is_reloading = document.process.is_reloading
        if function.execution.requires_init or not is_reloading:
            check_loaded(invoker, function, sink, is_reloading=is_reloading)
        async with watched(document, function, reload, sink):
            yield RunningFunction(invoker, IN_PROCESS, reload)


def has_loaded(invoker: InProcess) -> bool:
    """Say whether there is code that serves."""
    return not isinstance(invoker.handler, InitError)


def check_loaded(
    invoker: InProcess, function: Function, sink: Sink | None, *, is_reloading: bool = False
) -> None:
    """Raise InvalidSetting when the handler cannot be found: better now than at the first request.

    Any other failure of the import is a warning: the next invocation repeats it (lambda.md 1.10).
    """
    handler = invoker.handler
    if isinstance(handler, InitError):
        failure = f"{handler.error_type}: {handler.message}"
        text = explained_here(function, failure)
        failed = InitFailed(text, handler.error_type)
        environments.judge(failed, function, sink, is_reloading=is_reloading)
    check_callable(invoker)


def check_callable(invoker: InProcess) -> None:
    """Raise InvalidSetting when there is a handler that is not callable."""
    handler = invoker.handler
    if not isinstance(handler, InitError) and not callable(handler):
        kind = type(handler).__name__
        raise InvalidSetting(f"the handler is a {kind}, not a function; name one: module.function")


def explained_here(function: Function, failure: str) -> str:
    """Return why a handler was not found by this interpreter, and where it was looked for."""
    return environments.explained(failure, function, own())

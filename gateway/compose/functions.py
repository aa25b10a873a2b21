"""A function of the document into a running one, wherever it runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from gateway.compose import environments, in_process
from gateway.compose.reloads import Reload, watched
from gateway.compose.running import RunningFunction
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.config.process import Process
from gateway.core.function_errors import lasting_failure
from gateway.core.interfaces import Invoker, Sink
from gateway.core.invocation import LATEST, Invocation, InvocationResult, LogType, request_id
from gateway.core.notices import OperatorWarning
from gateway.functions.service import FunctionService
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.function_sink import FunctionSink
from gateway.telemetry.system import CLOCK, HexDraws


@asynccontextmanager
async def invokable(
    document: Document, function: Function, sink: Sink | None
) -> AsyncIterator[RunningFunction]:
    """Run a function of the document, in this process or in environments, or be ready to invoke it
    elsewhere."""
    execution = function.execution
    if sink is not None:
        sink = of_function(function, sink)
    if execution.remote is not None:
        # A local handler needs no client, which takes long to import.
        from gateway.compose import remote  # noqa: PLC0415

        limits, told = environments.lease_limits(execution), sink or Fanout([])
        async with remote.running(execution.remote, limits, clock=CLOCK, sink=told) as invoker:
            yield RunningFunction(invoker, str(execution.remote))
        return
    if execution.is_in_process:
        async with in_process.running(document, function, sink) as running:
            yield running
        return
    async with environments.running(function, document.process, sink, CLOCK, HexDraws()) as found:
        has_code = partial(getattr, found, "has_code")
        reload = Reload(function, found.replace, sink, has_code=has_code)
        async with watched(document, function, reload, sink):
            yield RunningFunction(found.invoker, found.isolation, reload)


def of_function(function: Function, sink: Sink) -> Sink:
    """Return the sink of what runs the function; elsewhere each answer names its version."""
    version = "" if function.execution.remote else LATEST
    return FunctionSink(sink, function.completed_name(), version)


async def invoke_once(
    function: Function,
    payload: bytes,
    sink: Sink | None = None,
    log_type: LogType = LogType.NONE,
) -> InvocationResult:
    """Run the function once, up to its timeout, after an init that may fail as on Lambda.

    Only an execution environment tells the sink, and gives the tail of the log.
    """
    invocation = Invocation(request_id(HexDraws()(32)), function.reference(), payload)
    invocation.log_type = log_type
    if not function.execution.is_in_process:
        async with environments.prepared(function, Process(), sink, CLOCK, HexDraws()) as found:
            result = await service_of(function, found.invoker).invoke(invocation)
            explain(lasting_failure(result.payload), found.explain, sink)
            return result
    with in_process.function_process(function):
        code = in_process.code_of(function, sink)
        async with in_process.in_process(function, code) as invoker:
            in_process.check_callable(invoker)
            result = await service_of(function, invoker).invoke(invocation)
            explain(
                lasting_failure(result.payload), partial(in_process.explained_here, function), sink
            )
            return result


def service_of(function: Function, invoker: Invoker) -> FunctionService:
    """Return the door to one function."""
    return FunctionService({function.completed_name(): invoker})


def explain(failure: str, explained: Callable[[str], str], sink: Sink | None) -> None:
    """Say more about a handler that was not found, where there is more to say."""
    text = explained(failure) if failure else ""
    if sink is not None and text != failure:
        sink.emit(OperatorWarning(text))

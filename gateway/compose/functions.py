"""A function that can be invoked, wherever it runs, from its settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from gateway.compose import environments
from gateway.compose.in_process import (
    IN_PROCESS,
    check_callable,
    code_of,
    explained_here,
    function_process,
    in_process,
    running_function,
)
from gateway.compose.reloads import Reload, reported, watched
from gateway.config.settings import Serving
from gateway.core.function_errors import lasting_failure
from gateway.core.interfaces import Invoker, Sink
from gateway.core.invocation import Invocation, InvocationResult, LogType, request_id
from gateway.core.notices import OperatorWarning
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.function_sink import FunctionSink
from gateway.telemetry.system import CLOCK, HexDraws


@asynccontextmanager
async def invokable(
    serving: Serving, sink: Sink | None, on_hangup: list[Reload] | None = None
) -> AsyncIterator[tuple[Invoker, str]]:
    """Run the function, in this process or in environments, or be ready to invoke it elsewhere;
    yields the invoker and how isolated or where it is, and adds to the list what SIGHUP is to
    reload."""
    if sink is not None:
        sink = of_function(serving, sink)
    if serving.remote is not None:
        # A local handler needs no client, which takes long to import.
        from gateway.compose import remote  # noqa: PLC0415

        limits = environments.pool_settings(serving)
        told = sink or Fanout([])
        async with remote.running(serving.remote, limits, clock=CLOCK, sink=told) as invoker:
            yield invoker, str(serving.remote)
        return
    if serving.is_in_process:
        async with running_function(serving, sink, on_hangup) as invoker:
            yield invoker, IN_PROCESS
        return
    async with environments.running(serving, sink, CLOCK, HexDraws()) as running:
        has_code = partial(getattr, running, "has_code")
        reload = reported(running.replace, serving.function.handler, sink, has_code=has_code)
        if on_hangup is not None:
            on_hangup.append(reload)
        async with watched(serving, reload, sink):
            yield running.pool, running.isolation


def of_function(serving: Serving, sink: Sink) -> Sink:
    """Return the sink of what runs the function; elsewhere each answer names its version."""
    version = "" if serving.remote else "$LATEST"
    return FunctionSink(sink, serving.function.completed_name(), version)


async def invoke_once(
    serving: Serving,
    payload: bytes,
    sink: Sink | None = None,
    log_type: LogType = LogType.NONE,
) -> InvocationResult:
    """Run the function once, up to its timeout, after an init that may fail as on Lambda.

    Only an execution environment tells the sink, and gives the tail of the log.
    """
    function = serving.function
    invocation = Invocation(request_id(HexDraws()(32)), function.reference(), payload)
    invocation.log_type = log_type
    if not serving.is_in_process:
        async with environments.prepared(serving, sink, CLOCK, HexDraws()) as found:
            result = await found.pool.invoke(invocation)
            explain(lasting_failure(result.payload), found.explain, sink)
            return result
    with function_process(function):
        async with in_process(serving, code_of(function, sink)) as invoker:
            check_callable(invoker)
            result = await invoker.invoke(invocation)
            explain(lasting_failure(result.payload), partial(explained_here, function), sink)
            return result


def explain(failure: str, explained: Callable[[str], str], sink: Sink | None) -> None:
    """Say more about a handler that was not found, where there is more to say."""
    text = explained(failure) if failure else ""
    if sink is not None and text != failure:
        sink.emit(OperatorWarning(text))

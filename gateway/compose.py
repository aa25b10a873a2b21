"""Settings to running objects: the only file where the concrete classes meet."""

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from gateway import environments
from gateway.balancer.balancer import Balancer, TargetGroup
from gateway.config.settings import Function, Serving
from gateway.config.variables import function_variables
from gateway.core.alb import AlbCodec
from gateway.core.errors import InvalidSetting
from gateway.core.function_errors import lasting_failure
from gateway.core.http import HttpRequest
from gateway.core.interfaces import Invoker, Sink
from gateway.core.invocation import Invocation, InvocationResult, LogType, request_id
from gateway.core.listener import Listener, listener_from_url
from gateway.core.notices import OperatorWarning
from gateway.core.pages import Pages
from gateway.core.tracing import trace_header
from gateway.invokers.capture import captured_streams, current_request_id
from gateway.invokers.code import HandlerCode
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.reloads import InProcessReload, Reload, reported, watched
from gateway.runtime.child.bootstrap import InitError
from gateway.runtime.child.lambda_context import FunctionSettings
from gateway.runtime.child.logs import configure_logging
from gateway.runtime.interpreter import named, own, own_runtime, unused_environment
from gateway.runtime.slots import InitFailed
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.system import HexDraws, SystemClock
from gateway.web.asgi import AsgiFront
from gateway.web.front import Front
from gateway.web.server_headers import ServerHeaders

CLOCK = SystemClock()

IN_PROCESS = "in-process: invocations share one interpreter, which AWS never does"


def listener(serving: Serving, scheme: str, port: int) -> Listener:
    """Return the listener that events name: that of `--as`, else the real one; raises
    InvalidSetting."""
    if serving.listener_url:
        return listener_from_url(serving.listener_url)
    function = serving.function
    name = f"{function.completed_name()}-1234567890.{function.region}.elb.amazonaws.com".lower()
    return Listener(scheme, port, name)


def codec(serving: Serving, seen_as: Listener) -> AlbCodec:
    """Return the codec of the function's target group behind a listener."""
    return AlbCodec(
        serving.function.target_group(),
        seen_as,
        serving.attributes,
        faithful=serving.is_faithful,
    )


def balancer(serving: Serving, seen_as: Listener, invoker: Invoker) -> Balancer:
    """Return the Responder that forwards everything to the function."""
    bridge = codec(serving, seen_as)
    group = TargetGroup(bridge.target_group_arn, serving.function.reference(), bridge)
    return Balancer(group, invoker, pages=Pages(serving.attributes), clock=CLOCK, draw=HexDraws())


def listener_front(
    serving: Serving, seen_as: Listener, invoker: Invoker, sink: Sink | None
) -> Front:
    """Return the listener's own front; its idle and keep-alive times are ALB's attributes."""
    attributes = serving.attributes
    limits = replace(
        serving.limits,
        idle_seconds=float(attributes.idle_timeout_seconds),
        keep_alive_seconds=float(attributes.client_keep_alive_seconds),
    )
    return Front(
        balancer(serving, seen_as, invoker),
        pages=Pages(attributes),
        sink=sink,
        clock=CLOCK,
        draw=HexDraws(),
        limits=limits,
        mode=attributes.desync_mode,
    )


def portable_front(
    serving: Serving,
    seen_as: Listener,
    invoker: Invoker,
    sink: Sink | None,
    server_headers: ServerHeaders = "send",
) -> AsgiFront:
    """Return the ASGI application of one listener."""
    responder, pages = balancer(serving, seen_as, invoker), Pages(serving.attributes)
    return AsgiFront(responder, pages=pages, sink=sink, clock=CLOCK, server_headers=server_headers)


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


def in_process(serving: Serving, code: HandlerCode) -> InProcess:
    """Return the invoker that runs the handler in this process."""
    settings = InProcessSettings(
        serving.function.handler, serving.function.timeout_seconds, serving.worker_threads()
    )
    # An embedding process keeps its variables, but the context names the function there too.
    function = FunctionSettings.from_environ({**variables(serving.function), **os.environ})
    return InProcess(settings, code.load(), function=function, clock=CLOCK, reload=code.reload)


@asynccontextmanager
async def running_function(
    serving: Serving, sink: Sink | None, on_hangup: list[Reload] | None = None
) -> AsyncIterator[InProcess]:
    """Load the function, start its workers and, if asked, the watch over its files."""
    code = code_of(serving.function, sink)
    async with in_process(serving, code) as invoker:
        has_code = partial(has_loaded, invoker)
        swap = InProcessReload(code, invoker, serving.function)
        reload = reported(swap, code.handler, sink, has_code=has_code)
        if on_hangup is not None:
            on_hangup.append(reload)
        if serving.requires_init or not serving.is_reloading:
            check_loaded(invoker, serving, sink)
        async with watched(serving, reload, sink):
            yield invoker


def has_loaded(invoker: InProcess) -> bool:
    """Say whether there is code that serves."""
    return not isinstance(invoker.handler, InitError)


@asynccontextmanager
async def invokable(
    serving: Serving, sink: Sink | None, on_hangup: list[Reload] | None = None
) -> AsyncIterator[tuple[Invoker, str]]:
    """Run the function, in this process or in environments, or be ready to invoke it elsewhere;
    yields the invoker and how isolated or where it is, and adds to the list what SIGHUP is to
    reload."""
    if serving.remote is not None:
        # Whoever serves a local handler does without the client, which takes long to import.
        from gateway import remote  # noqa: PLC0415

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


def check_loaded(invoker: InProcess, serving: Serving, sink: Sink | None) -> None:
    """Raise InvalidSetting when the handler cannot be found: better now than at the first request.

    Any other failure of the import is a warning: the next invocation repeats it (lambda.md 1.10).
    """
    handler = invoker.handler
    if isinstance(handler, InitError):
        failure = f"{handler.error_type}: {handler.message}"
        text = explained_here(serving.function, failure)
        environments.judge(InitFailed(text, handler.error_type), serving, sink)
    check_callable(invoker)


def check_callable(invoker: InProcess) -> None:
    """Raise InvalidSetting when there is a handler that is not callable."""
    handler = invoker.handler
    if not isinstance(handler, InitError) and not callable(handler):
        kind = type(handler).__name__
        raise InvalidSetting(f"the handler is a {kind}, not a function; name one: module.function")


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


def explained_here(function: Function, failure: str) -> str:
    """Return why a handler was not found by this interpreter, and where it was looked for."""
    return environments.explained(failure, function, own())


def explain(failure: str, explained: Callable[[str], str], sink: Sink | None) -> None:
    """Say more about a handler that was not found, where there is more to say."""
    text = explained(failure) if failure else ""
    if sink is not None and text != failure:
        sink.emit(OperatorWarning(text))


def event_of(serving: Serving, request: HttpRequest) -> bytes:
    """Return the event that a request becomes behind the listener it names."""
    seen_as = listener(serving, request.scheme, request.server[1])
    request.trace_id = trace_header(request.headers, now=CLOCK.now(), draw=HexDraws()(24))
    return codec(serving, seen_as).encode(request)

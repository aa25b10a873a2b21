"""A listener: codec, balancer and front, from its settings."""

from dataclasses import replace

from gateway.balancer.balancer import Balancer, TargetGroup
from gateway.config.settings import Serving
from gateway.core.alb import AlbCodec
from gateway.core.http import HttpRequest
from gateway.core.interfaces import Invoker, Sink
from gateway.core.listener import Listener, listener_from_url
from gateway.core.pages import Pages
from gateway.core.tracing import trace_header
from gateway.telemetry.system import CLOCK, HexDraws
from gateway.web.asgi import AsgiFront
from gateway.web.exchanges import Exchanges
from gateway.web.front import Front
from gateway.web.server_headers import ServerHeaders


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
        listener=seen_as,
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
    exchanges = Exchanges(seen_as, pages=Pages(serving.attributes), sink=sink, clock=CLOCK)
    responder = balancer(serving, seen_as, invoker)
    return AsgiFront(responder, exchanges, clock=CLOCK, server_headers=server_headers)


def event_of(serving: Serving, request: HttpRequest) -> bytes:
    """Return the event that a request becomes behind the listener it names."""
    seen_as = listener(serving, request.scheme, request.server[1])
    request.trace_id = trace_header(request.headers, now=CLOCK.now(), draw=HexDraws()(24))
    return codec(serving, seen_as).encode(request)

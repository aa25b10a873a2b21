"""A listener of the document into its responder and its front."""

from dataclasses import replace

from gateway.balancer.balancer import Balancer, Forward
from gateway.balancer.rules import PreparedRule, Rules
from gateway.config.document import Document
from gateway.config.listener import Listener
from gateway.core.alb import AlbCodec
from gateway.core.http import HttpRequest
from gateway.core.interfaces import Clock, Invoker, Responder, Sink
from gateway.core.listener import ListenerAddress, listener_address
from gateway.core.pages import Pages
from gateway.core.tracing import trace_header
from gateway.telemetry.system import CLOCK, HexDraws
from gateway.web.asgi import AsgiFront
from gateway.web.exchanges import Exchanges
from gateway.web.front import Front
from gateway.web.server_headers import ServerHeaders


def address(document: Document, listener: Listener, scheme: str, port: int) -> ListenerAddress:
    """Return the listener that events name: the one of `seen_as`, else the one that clients see at
    a scheme and a port; raises InvalidSetting."""
    if listener.seen_as:
        return listener_address(listener.seen_as)
    function = document.served_by(listener)
    name = f"{function.completed_name()}-1234567890.{function.region}.elb.amazonaws.com".lower()
    return ListenerAddress(scheme, port, name)


def forward(
    document: Document, listener: Listener, seen_as: ListenerAddress, target_group: str = ""
) -> Forward:
    """Return the action that forwards to a target group, by default that of the listener's default
    action; raises InvalidSetting."""
    group = document.target_group(target_group or listener.target_group)
    function = document.function(group.function)
    attributes = replace(listener.attributes, multi_value_headers=group.multi_value_headers)
    arn = group.completed_arn(function)
    codec = AlbCodec(arn, seen_as, attributes, faithful=listener.is_faithful)
    return Forward(arn, function.reference(), codec)


def balancer(
    listener: Listener, action: Forward, invoker: Invoker, clock: Clock = CLOCK
) -> Balancer:
    """Return the Responder that performs an action of a listener."""
    pages = Pages(listener.attributes)
    return Balancer(action, invoker, pages=pages, clock=clock, draw=HexDraws())


def responder(
    document: Document,
    listener: Listener,
    seen_as: ListenerAddress,
    invoker: Invoker,
    clock: Clock = CLOCK,
) -> Responder:
    """Return the Responder of a listener that events name as `seen_as`: its rules where it has any,
    then its default action; raises InvalidSetting."""

    def forwards(target_group: str, priority: int = 0) -> Balancer:
        action = forward(document, listener, seen_as, target_group)
        return balancer(listener, replace(action, rule_priority=priority), invoker, clock)

    default = forwards(listener.target_group)
    rules = [
        PreparedRule(rule.priority, rule.path_pattern, forwards(rule.target_group, rule.priority))
        for rule in listener.rules
    ]
    return Rules(rules, default) if rules else default


def listener_front(
    listener: Listener,
    seen_as: ListenerAddress,
    responder: Responder,
    sink: Sink | None,
    *,
    at_once: int,
) -> Front:
    """Return the listener's own front; its idle and keep-alive times are ALB's attributes.

    `at_once` is how many invocations HTTP/2 may run at once.
    """
    attributes = listener.attributes
    limits = replace(
        listener.limits,
        idle_seconds=float(attributes.idle_timeout_seconds),
        keep_alive_seconds=float(attributes.client_keep_alive_seconds),
    )
    return Front(
        responder,
        listener=seen_as,
        pages=Pages(attributes),
        sink=sink,
        clock=CLOCK,
        draw=HexDraws(),
        limits=limits,
        mode=attributes.desync_mode,
        at_once=at_once,
    )


def portable_front(
    listener: Listener,
    seen_as: ListenerAddress,
    responder: Responder,
    sink: Sink | None,
    server_headers: ServerHeaders = "send",
) -> AsgiFront:
    """Return the ASGI application of one listener."""
    exchanges = Exchanges(seen_as, pages=Pages(listener.attributes), sink=sink, clock=CLOCK)
    return AsgiFront(responder, exchanges, clock=CLOCK, server_headers=server_headers)


def event_of(document: Document, request: HttpRequest) -> bytes:
    """Return the event that a request becomes behind the document's first listener."""
    listener = document.listeners[0]
    seen_as = address(document, listener, request.scheme, request.server[1])
    request.trace_id = trace_header(request.headers, now=CLOCK.now(), draw=HexDraws()(24))
    return forward(document, listener, seen_as).codec.encode(request)

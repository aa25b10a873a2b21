"""The life of a worker, from its assignment to its end."""

import os
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace

from gateway.compose.sinks import sinks
from gateway.config.document import Document
from gateway.core.errors import GatewayError
from gateway.server.assignment import Assignment
from gateway.server.run import serve as serve_stage
from gateway.server.run import shared_function
from gateway.server.signals import STOP_SIGNALS, StartEnded, end_start
from gateway.server.stage import Stage
from gateway.server.systemd import notifier
from gateway.server.worker import WorkerSlot
from gateway.telemetry.system import CLOCK
from gateway.telemetry.writer import to_stderr

INVALID = 2
"""Exit status for settings that cannot be used; the worker has said why."""


def serve(assignment: Assignment, channel: socket.socket) -> None:
    """Serve until told to stop; raises SystemExit with status 2 where that is not possible."""
    document = assignment.document
    if assignment.is_successor:  # or broken code would take the place of code that serves
        document = requiring_init(document)
    if shared_function(document) is None:
        for number in (*STOP_SIGNALS, signal.SIGHUP):
            signal.signal(number, end_start)
    try:
        with ExitStack() as stack:
            stack.enter_context(channel)
            _serve(assignment, read_again(document), channel, stack)
    except StartEnded as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    except GatewayError as error:
        to_stderr(f"gateway: {error}")
        sys.exit(INVALID)


def read_again(document: Document) -> Document:
    """Return the document with variables as their files have them now; raises InvalidSetting."""
    return replace(document, functions=tuple(one.read_again() for one in document.functions))


def requiring_init(document: Document) -> Document:
    """Return the document of a worker that must not serve a function whose init fails."""
    functions = tuple(
        replace(one, execution=replace(one.execution, requires_init=True))
        for one in document.functions
    )
    return replace(document, functions=functions)


def _serve(
    assignment: Assignment, document: Document, channel: socket.socket, stack: ExitStack
) -> None:
    sockets = tuple(
        stack.enter_context(socket.socket(fileno=descriptor))
        for descriptor in assignment.descriptors
    )
    for listening in sockets:
        listening.set_inheritable(False)
        listening.setblocking(False)  # noqa: FBT003
    slot = WorkerSlot(document.process.worker, channel)
    sink = sinks(document, stack)
    notified = notifier(os.environ, CLOCK.monotonic)
    serve_stage(Stage(document, sink, sockets, notified, slot.say_ready, slot))

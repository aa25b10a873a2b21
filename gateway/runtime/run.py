"""One invocation in one execution environment: its delivery, its result, its report."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import cast

from gateway.core.environment import Complete
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import InvocationReported, LogEntry, LogStream, Status
from gateway.core.report import billed_ms
from gateway.runtime.api_routes import Event, Poll
from gateway.runtime.event import event_of


@dataclass(slots=True)
class Run:
    """An invocation from its assignment to the moment at which the environment is free again."""

    invocation: Invocation
    future: asyncio.Future[InvocationResult]
    started: float
    """Seconds of the monotonic clock."""
    started_at: float
    """Epoch seconds."""
    invocation_id: str
    timeout_seconds: float
    event: Event | None = None
    poll: Poll | None = None
    """What the event was delivered to."""
    is_redelivered: bool = False
    """Whether the runtime has asked for the event again, so it may have read it before."""
    completed: Complete | None = None
    result: InvocationResult | None = None
    init_ms: float | None = None
    entries: list[LogEntry] = field(default_factory=list)

    def deliver(self, poll: Poll) -> None:
        """Answer a poll with the event."""
        if self.event is None:
            deadline_ms = int((self.started_at + self.timeout_seconds) * 1000)
            self.event = event_of(self.invocation, self.invocation_id, deadline_ms)
        self.is_redelivered = self.poll is not None
        self.poll = poll
        poll.deliver(self.event)

    def has_left_event(self) -> bool:
        """Say whether the process, which has ended, is known not to have read the event."""
        if self.poll is None:
            return True
        return self.poll.has_left_event and not self.is_redelivered

    def answer(self) -> None:
        """Give the caller its result, unless it has left."""
        if self.result is not None and not self.future.done():
            self.future.set_result(self.result)

    def complete(
        self, completed: Complete, entries: list[LogEntry], version: str, now: float
    ) -> None:
        """Take what came of it at a time of the monotonic clock."""
        self.completed, self.entries = completed, entries
        self.result = InvocationResult(
            completed.payload,
            version,
            "" if completed.status == "success" else "Unhandled",
            text_of(entries),
            billed_ms(self.duration_ms(completed, now), self.init_ms),
            math.ceil(self.init_ms or 0),
        )

    def duration_ms(self, completed: Complete, now: float) -> float:
        """Return for how long it has run; of a timeout AWS reports the limit itself."""
        is_timeout = completed.status == "timeout"
        return (self.timeout_seconds if is_timeout else now - self.started) * 1000

    def report(  # noqa: PLR0913, PLR0917 - what its environment knows of it
        self,
        completed: Complete,
        failure: str,
        entries: list[LogEntry],
        stream: LogStream,
        duration_ms: float,
        memory_mb: int,
        now: float,
    ) -> InvocationReported:
        """Return what its log says, at a time in epoch seconds."""
        status = "error" if failure and completed.status == "success" else completed.status
        return InvocationReported(
            stream,
            self.invocation.request_id,
            self.started_at,
            now,
            entries,
            duration_ms,
            billed_ms(duration_ms, self.init_ms),
            memory_mb,
            self.init_ms,
            cast("Status", status),
            completed.error_type or failure,
            self.invocation.trace_id,
            len(completed.payload),
        )


def text_of(entries: list[LogEntry]) -> str:
    """Return entries as the lines of a terminal."""
    return "".join([f"{entry.text}\n" for entry in entries]) if entries else ""

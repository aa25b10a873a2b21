"""What the remote invokers share: one exchange with a Lambda elsewhere, and how it can fail.

The client tells what was never sent from what may have started; here the two become the gateway's
errors, so that callers depend on no client.
"""

import math
from typing import Protocol

from gateway.core.errors import (
    ConnectionTimedOut,
    ResponseTooLarge,
    ServiceInterrupted,
    ServiceTimedOut,
    ServiceUnreachable,
)
from gateway.core.http import Headers
from gateway.core.interfaces import Clock
from gateway.core.invocation import Invocation
from gateway.wire.client import DeadlineExceeded, Interrupted, Reply, ReplyTooLarge, Unreachable


class Origin(Protocol):
    """One scheme, host and port that requests go to; gateway.wire.client.Peer is one."""

    authority: bytes
    """The value of the Host header that every request gets."""

    async def exchange(  # noqa: PLR0913 - a request and its two times
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        *,
        deadline: float,
        start_by: float = math.inf,
    ) -> Reply:
        """Send a request once; raises Unreachable when nothing was sent, Interrupted when it may
        have started. `deadline`, and `start_by`, after which nothing is sent any more, are in
        seconds of the event loop's clock."""
        ...

    async def reach(self, *, deadline: float) -> None:
        """Connect, and no more; raises Unreachable."""
        ...


async def posted(  # noqa: PLR0913 - a request and its two times
    origin: Origin,
    target: bytes,
    headers: Headers,
    body: bytes,
    *,
    deadline: float,
    start_by: float = math.inf,
) -> Reply:
    """Return the reply to a POST; raises ServiceUnreachable, and only then nothing was sent,
    ServiceTimedOut, ServiceInterrupted or ResponseTooLarge."""
    try:
        return await origin.exchange(
            b"POST", target, headers, body, deadline=deadline, start_by=start_by
        )
    except Unreachable as error:
        is_late = isinstance(error.__cause__, TimeoutError)
        kind = ConnectionTimedOut if is_late else ServiceUnreachable
        raise kind(str(error)) from error
    except DeadlineExceeded as error:
        raise ServiceTimedOut(str(error)) from error
    except ReplyTooLarge as error:
        raise ResponseTooLarge("payload", "not read to its end", str(error)) from error
    except Interrupted as error:
        raise ServiceInterrupted(str(error)) from error


def seconds_left(invocation: Invocation, timeout_seconds: float, clock: Clock) -> float:
    """Return how long an invocation may take: the timeout, or less where it has a deadline."""
    if not invocation.deadline_ms:
        return timeout_seconds
    return min(timeout_seconds, invocation.deadline_ms / 1000 - clock.now())

"""Functions of AWS Lambda, or of whatever speaks its Invoke API.

What may have started is never sent again. Throttles and failed connections may be, as often as the
settings say, after waits that double and are shortened at random; each attempt is signed afresh.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.errors import ServiceUnreachable, Throttled
from gateway.core.interfaces import Clock
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.invoke_api import (
    FunctionName,
    check_size,
    invocation_result,
    invoke_headers,
    invoke_target,
    refusal,
)
from gateway.core.sigv4 import CredentialScope, RequestToSign, digest, signed
from gateway.invokers.credentials import CredentialsProvider
from gateway.invokers.remote import Origin, posted, seconds_left
from gateway.telemetry.system import pause

LONGEST_WAIT_SECONDS = 20.0
"""Between two attempts (AWS SDKs and Tools reference guide, "Retry behavior")."""


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Which function is invoked, and how patiently."""

    function: FunctionName
    region: str
    timeout_seconds: float = 905.0
    """For an invocation with all its attempts; Lambda's own longest timeout is 900 s, and its
    word about it must have time to come."""
    wants_log: bool = False
    """Ask for the tail of the log each time."""
    retries: int = 0
    """Further attempts after a throttle or a connection that failed; 0 leaves both to the caller,
    as ALB does."""
    backoff_seconds: float = 0.1
    """The longest wait before the first of them; it doubles with each, up to 20 s."""


class AwsLambda:
    """An Invoker of one function through the Invoke API."""

    def __init__(
        self,
        settings: AwsSettings,
        origin: Origin,
        credentials: CredentialsProvider,
        *,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """Take what is needed; `jitter` draws from 0.0 to 1.0."""
        self._settings = settings
        self._origin = origin
        self._credentials = credentials
        self._clock = clock
        self._jitter = jitter
        self._target = invoke_target(settings.function)
        self._scope = CredentialScope(settings.region)
        self._host = (b"Host", origin.authority)

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Return what the function answered; raises RequestTooLarge, Throttled, ServiceRefused,
        ServiceFailed or ResponseTooLarge."""
        check_size(invocation)
        seconds = seconds_left(invocation, self._settings.timeout_seconds, self._clock)
        deadline = asyncio.get_running_loop().time() + seconds
        request = RequestToSign(
            b"POST",
            self._target,
            [self._host, *invoke_headers(invocation, wants_log=self._settings.wants_log)],
            digest(invocation.payload),
        )
        for attempt in range(self._settings.retries):
            try:
                return await self._attempt(request, invocation.payload, deadline)
            except (Throttled, ServiceUnreachable):
                if not await self._wait(attempt, deadline):
                    raise
        return await self._attempt(request, invocation.payload, deadline)

    async def _attempt(
        self, request: RequestToSign, payload: bytes, deadline: float
    ) -> InvocationResult:
        credentials = self._credentials.current()
        headers = signed(request, credentials, self._scope, at=self._clock.now())
        headers.remove(self._host)  # the client sends it itself
        target = request.target
        reply = await posted(self._origin, target, headers, payload, deadline=deadline)
        if 200 <= reply.status < 300:
            return invocation_result(reply.headers, reply.body)
        hidden = (credentials.secret_key, credentials.token)
        raise refusal(reply.status, reply.headers, reply.body, hidden=hidden)

    async def _wait(self, attempt: int, deadline: float) -> bool:
        """Wait before the next attempt; says whether there is time for one."""
        longest = min(self._settings.backoff_seconds * 2**attempt, LONGEST_WAIT_SECONDS)
        seconds = longest * self._jitter()
        if asyncio.get_running_loop().time() + seconds >= deadline:
            return False
        await pause(seconds)
        return True

"""Invokers around an Invoker: a circuit breaker, and a cap on concurrency.

The cap belongs outside the breaker: `ConcurrencyCap(CircuitBreaker(invoker))`. What waits for its
turn there has not been admitted yet.
"""

import asyncio
from typing import Self

from gateway.core.circuit import (
    Abandoned,
    AdmissionRequested,
    Admit,
    Announce,
    Circuit,
    CircuitSettings,
    Effect,
    Failed,
    Input,
    Refuse,
    State,
    Succeeded,
)
from gateway.core.errors import CircuitOpen, GatewayError, RequestRefused, ServiceFailed
from gateway.core.interfaces import Clock, Invoker, Sink
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import OperatorWarning
from gateway.runtime.leases import Leases, PoolSettings
from gateway.runtime.pool import SWEEP_SECONDS


class CircuitBreaker:
    """An Invoker that leaves the one inside alone for a while after platform failures in a row.

    Only ServiceFailed counts: a service that throttles or refuses has answered.
    """

    def __init__(
        self, inner: Invoker, name: str, settings: CircuitSettings, *, clock: Clock, sink: Sink
    ) -> None:
        """Take the invoker inside, and what the operator calls its function."""
        self._inner = inner
        self._name = name
        self._settings = settings
        self._circuit = Circuit(settings)
        self._clock = clock
        self._sink = sink
        self._last_failure = ""

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Invoke; raises CircuitOpen without trying, or what the invoker inside raises."""
        period = self._admitted()
        outcome: Input = Abandoned(period)
        try:
            result = await self._inner.invoke(invocation)
        except ServiceFailed as failure:
            self._last_failure = str(failure)
            outcome = Failed(period, self._clock.monotonic())
            raise
        except RequestRefused:
            raise  # perhaps before anything was sent: it says nothing about the platform
        except GatewayError:
            outcome = Succeeded(period)
            raise
        else:
            outcome = Succeeded(period)
            return result
        finally:
            self._perform(self._circuit.receive(outcome))

    def _admitted(self) -> int:
        """Return the number of this admission; raises CircuitOpen."""
        *announced, answer = self._circuit.receive(AdmissionRequested(self._clock.monotonic()))
        self._perform(announced)
        if isinstance(answer, Admit):
            return answer.period
        seconds = answer.seconds if isinstance(answer, Refuse) else 0.0
        when = f"it is tried again in {seconds:.1f} s" if seconds else "it is being tried"
        raise CircuitOpen(f"{self._name} fails, {when}; last: {self._last_failure}")

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Announce):
                self._announce(effect.state)

    def _announce(self, state: State) -> None:
        """Tell the operator when the circuit opens, and when it is over."""
        if state is State.OPEN:
            seconds = self._settings.open_seconds
            text = f"{self._name} fails and is left alone for {seconds:g} s: {self._last_failure}"
            self._sink.emit(OperatorWarning(text))
        elif state is State.CLOSED:
            self._sink.emit(OperatorWarning(f"{self._name} works again"))


class ConcurrencyCap:
    """An Invoker that lets a limited number of invocations run at once; others wait, first come,
    first served, and are throttled when their time is over. An async context manager."""

    def __init__(self, inner: Invoker, settings: PoolSettings, *, sink: Sink) -> None:
        """Take the invoker inside, and how many may run and how long the others wait."""
        self._inner = inner
        reason = (
            f"the function is busy with {settings.concurrency} invocations; raise --concurrency, "
            "or let others wait with --queue-timeout"
        )
        self._leases = Leases(settings, sink, reason)

    async def __aenter__(self) -> Self:
        self._plan()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Throttle waiting and later invocations; running ones are not stopped."""
        self._timer.cancel()
        self._leases.end()

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Invoke when it is this one's turn; raises Throttled, or what the invoker inside
        raises."""
        leases = self._leases
        if leases.running < leases.limit:
            leases.running += 1
        else:
            await leases.wait()
        try:
            return await self._inner.invoke(invocation)
        finally:
            leases.pass_on()

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._report)

    def _report(self) -> None:
        """Say once a second how many were throttled."""
        self._leases.report()
        self._plan()

"""Invokers around an Invoker: a circuit breaker, and a cap on concurrency.

The cap belongs outside the breaker: `ConcurrencyCap(CircuitBreaker(invoker))`. What waits for its
turn there has not been admitted yet.
"""

from collections.abc import Hashable

from gateway.core.circuit import (
    Abandoned,
    AdmissionRequested,
    Admit,
    AnnounceState,
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
from gateway.core.interfaces import Clock, Invoker, Leases, Sink
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import OperatorWarning


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
            if isinstance(effect, AnnounceState):
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
    """An Invoker that takes a lease of its version for each invocation."""

    def __init__(self, inner: Invoker, leases: Leases, version: Hashable) -> None:
        """Take the invoker inside, and what grants it the right to run."""
        self._inner = inner
        self._leases = leases
        self._version = version

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Invoke with a lease; raises Throttled, or what the invoker inside raises."""
        with self._leases.take(self._version) or await self._leases.wait(self._version):
            return await self._inner.invoke(invocation)

"""The sink of everything that runs one function."""

from gateway.core.interfaces import Sink
from gateway.core.notices import FunctionReloaded, Notice, OperatorWarning


class FunctionSink:
    """Names the function in notices that do not; a Sink.

    What runs a function (pool, circuit breaker, watch) need not know what it is called.
    """

    def __init__(self, inner: Sink, function: str, version: str) -> None:
        """Take the sink inside; `version` is empty where every call may run another one."""
        self._emit = inner.emit
        self._function = function
        self._version = version

    def emit(self, notice: Notice, /) -> None:
        """Hand the notice on."""
        if isinstance(notice, OperatorWarning | FunctionReloaded) and not notice.function:
            notice.function, notice.version = self._function, self._version
        self._emit(notice)

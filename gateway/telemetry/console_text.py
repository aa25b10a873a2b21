"""Notices for people: a tidy line per request, what the function printed, why it failed.

Nothing that a client or a function wrote may drive the terminal: control characters are shown, not
sent. Advice appears once and the reason for throttling once a second, because both come in floods.
"""

from gateway.core.http import HttpRequest
from gateway.core.notices import (
    FunctionReloaded,
    InitReported,
    Notice,
    OperatorWarning,
    RequestServed,
)
from gateway.telemetry.timestamp import time_of_day
from gateway.telemetry.visible import INDENT, indented, on_one_line

PATH_COLUMNS = 120
METHOD_COLUMNS = 20

HINT_LIMIT = 100
"""Different hints in a lifetime; a hint may quote what a function made up."""

THROTTLED = "LambdaThrottling"

COLORS = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
NO_COLOR = "\x1b[0m"


class ConsoleText:
    """Turns notices into text; it remembers which hints were shown and what was held back."""

    def __init__(self, *, is_colored: bool) -> None:
        self._colors = COLORS if is_colored else {}
        self._hints: set[str] = set()
        self._throttled_second = -1
        self._held_back = 0

    def lines(self, notice: Notice) -> str:
        """Return one or more lines, without the last line end; nothing for what another notice
        tells already: what a function printed in an invocation is shown under its request."""
        if isinstance(notice, RequestServed):
            return self._request(notice)
        if isinstance(notice, FunctionReloaded):
            return _reloaded(notice)
        if isinstance(notice, OperatorWarning):
            return indented(notice.text)
        return _init(notice) if isinstance(notice, InitReported) else ""

    def _request(self, notice: RequestServed) -> str:
        response, second = notice.response, int(notice.completed_at)
        parts = [self._summary(notice)]
        if log := indented(response.forwarding.log):
            parts.append(log)
        if failure := self._failure(notice, second):
            parts.append(indented(failure))
        if response.hint and self._is_new(response.hint):
            parts.append(indented(f"hint: {response.hint}"))
        return self._overdue(second) + INDENT.join(parts)

    def _summary(self, notice: RequestServed) -> str:
        request, at, status = notice.request, notice.completed_at, notice.elb_status
        color = self._colors.get(status // 100)
        shown_status = f"{color}{status}{NO_COLOR}" if color else str(status)
        return (
            f"{time_of_day(at)} {shown_method(request.method):<6} {shown_path(request):<30} "
            f"{shown_status} {(at - request.arrived_at) * 1000:>7.1f} ms{_aside(notice)}"
        )

    def _failure(self, notice: RequestServed, second: int) -> str:
        forwarding = notice.response.forwarding
        said = ": ".join(filter(None, (forwarding.error_reason, forwarding.detail)))
        if not said:
            return ""
        if forwarding.error_reason == THROTTLED:
            return self._throttled(f"{notice.elb_status} {said}", second)
        return f"{notice.elb_status} {said}"

    def _throttled(self, said: str, second: int) -> str:
        """Return the reason once a second, with the number of those held back before."""
        if second == self._throttled_second:
            self._held_back += 1
            return ""
        self._throttled_second = second
        return said + self._more()

    def _overdue(self, second: int) -> str:
        """Return a line for what was held back when nothing was throttled since."""
        if not self._held_back or second == self._throttled_second:
            return ""
        return f"    {THROTTLED}{self._more()}\n"

    def _more(self) -> str:
        count, self._held_back = self._held_back, 0
        return f" (and {count} more)" if count else ""

    def _is_new(self, hint: str) -> bool:
        if hint in self._hints or len(self._hints) >= HINT_LIMIT:
            return False
        self._hints.add(hint)
        return True


def _aside(notice: RequestServed) -> str:
    if notice.elb_status == 460:
        return " (client left)"
    seconds = notice.response.forwarding.target_seconds
    return f" (handler {seconds * 1000:.1f} ms)" if seconds >= 0 else ""


def _reloaded(notice: FunctionReloaded) -> str:
    if not notice.error:
        return f"reloaded {notice.handler}"
    return f"could not reload {notice.handler}:{INDENT}{indented(notice.error)}"


def _init(notice: InitReported) -> str:
    """Return how an init phase failed and what was printed in it."""
    log = indented("\n".join(entry.text for entry in notice.entries))
    if notice.status == "success" and not log:
        return ""
    ending = "" if notice.status == "success" else f" {notice.status} {notice.error_type}".rstrip()
    name, ms = on_one_line(notice.stream.function_name), notice.init_ms
    summary = f"{time_of_day(notice.at)} INIT   {name:<34} {ms:>7.1f} ms{on_one_line(ending)}"
    return INDENT.join(filter(None, (summary, log)))


def shown_method(method: str) -> str:
    """Return a method fit for a line; one that could not be read is a dash."""
    return on_one_line(method[:METHOD_COLUMNS]) or "-"


def shown_path(request: HttpRequest) -> str:
    """Return path and query as sent, cut to fit a line."""
    target = request.target[: PATH_COLUMNS + 1].decode("ascii", "backslashreplace")
    text = on_one_line(target) or "-"
    return text if len(text) <= PATH_COLUMNS else f"{text[: PATH_COLUMNS - 3]}..."

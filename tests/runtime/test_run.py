"""One invocation in an environment: what is known of its event, and what its caller gets."""

import asyncio

import pytest

from gateway.core.environment import Complete
from gateway.core.invocation import FunctionRef, Invocation
from gateway.core.notices import LogEntry, LogStream
from gateway.runtime.api_routes import Event
from gateway.runtime.run import Run, text_of

STREAM = LogStream("g", "s", "shop", "7", "e", "", 128)


class FakePoll:
    """A runtime that waits."""

    def __init__(self, *, has_left_event: bool = False) -> None:
        self.has_left_event = has_left_event
        self.events: list[Event] = []

    def deliver(self, event: Event, /) -> None:
        self.events.append(event)


def run(trace_id: str = "") -> Run:
    invocation = Invocation("a", FunctionRef("shop", "", "arn"), b"{}", trace_id=trace_id)
    future = asyncio.get_running_loop().create_future()
    return Run(invocation, future, 100.0, 1_000.0, "i", timeout_seconds=3.0)


async def test_event_has_the_deadline_and_is_the_same_each_time() -> None:
    it, first, second = run(), FakePoll(), FakePoll()
    it.deliver(first)
    it.deliver(second)

    assert first.events == second.events
    assert b"Lambda-Runtime-Deadline-Ms: 1003000\r\n" in first.events[0].headers


async def test_event_that_no_poll_was_there_for_is_left() -> None:
    assert run().has_left_event()


@pytest.mark.parametrize("has_left_event", [True, False])
async def test_event_is_left_where_its_connection_says_so(*, has_left_event: bool) -> None:
    it = run()
    it.deliver(FakePoll(has_left_event=has_left_event))

    assert it.has_left_event() is has_left_event


async def test_event_that_was_asked_for_again_may_have_been_read_before() -> None:
    it = run()
    it.deliver(FakePoll())
    it.deliver(FakePoll(has_left_event=True))

    assert not it.has_left_event()


@pytest.mark.parametrize(
    ("status", "error", "billed"), [("success", "", 5000), ("timeout", "Unhandled", 3000)]
)
async def test_result_says_how_it_ended(status: str, error: str, billed: int) -> None:
    it = run()
    it.complete(Complete("a", b"1", status), [LogEntry(0.0, "printed")], "7", 105.0)
    it.answer()
    it.answer()

    result = it.future.result()
    assert (result.payload, result.function_error, result.billed_ms) == (b"1", error, billed)
    assert (result.executed_version, result.log) == ("7", "printed\n")


@pytest.mark.parametrize("now", [102.9995, 105.0])
async def test_duration_of_a_timeout_is_the_limit_also_where_the_timer_was_early(
    now: float,
) -> None:
    assert run().duration_ms(Complete("a", b"", "timeout"), now) == 3000.0


async def test_failure_after_a_success_is_reported_and_one_after_an_error_is_not() -> None:
    it = run(trace_id="Root=1")
    complete = Complete("a", b"1"), Complete("a", b"22", "error", "Runtime.X")
    late, error = (it.report(each, "Late", [], STREAM, 5.0, 64, 1_005.0) for each in complete)

    assert (late.status, late.error_type, late.produced_bytes) == ("error", "Late", 1)
    assert (error.status, error.error_type, error.produced_bytes) == ("error", "Runtime.X", 2)
    assert late.trace_id == "Root=1"


def test_entries_are_lines() -> None:
    assert text_of([LogEntry(0.0, "a"), LogEntry(0.0, "b")]) == "a\nb\n"
    assert text_of([]) == ""

"""The answer to a poll; its headers in whole are in test_environment.py."""

from gateway.core.invocation import FunctionRef, Invocation
from gateway.runtime.event import event_of, one_line


def test_a_header_value_is_one_line() -> None:
    assert one_line("a\r\nb") == "a  b"


def test_the_deadline_of_the_caller_counts_before_the_functions() -> None:
    invocation = Invocation("r", FunctionRef("shop", "", "arn"), b"{}")
    assert b"Deadline-Ms: 7\r\n" in event_of(invocation, "i", 7).headers
    invocation.deadline_ms = 5

    assert b"Deadline-Ms: 5\r\n" in event_of(invocation, "i", 7).headers

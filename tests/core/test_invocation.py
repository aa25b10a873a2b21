"""Request ids and the names AWS gives to ways of invoking."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.invocation import (
    FunctionRef,
    Invocation,
    InvocationResult,
    InvocationType,
    LogType,
    request_id,
)

HEX = "0123456789abcdef"


def test_request_id_keeps_the_draw_around_version_and_variant() -> None:
    assert request_id(2 * HEX) == "01234567-89ab-4def-a123-456789abcdef"


@given(st.text(HEX, min_size=32, max_size=32))
def test_any_draw_becomes_a_version_4_uuid(digits: str) -> None:
    text = request_id(digits)

    assert str(uuid.UUID(text)) == text
    assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (4, uuid.RFC_4122)


def test_invocation_types_are_awss_words() -> None:
    assert [str(kind) for kind in InvocationType] == ["RequestResponse", "Event", "DryRun"]


def test_log_types_are_awss_words() -> None:
    assert [str(kind) for kind in LogType] == ["None", "Tail"]


def test_invocation_waits_for_its_result_unless_told_otherwise() -> None:
    invocation = Invocation("id", FunctionRef("f", "", "arn"), b"{}")

    assert invocation.type is InvocationType.REQUEST_RESPONSE
    assert (invocation.deadline_ms, invocation.trace_id, invocation.client_context) == (0, "", "")


def test_result_is_that_of_latest_and_a_success_unless_told_otherwise() -> None:
    result = InvocationResult(b"{}")

    assert (result.executed_version, result.function_error, result.log) == ("$LATEST", "", "")
    assert (result.billed_ms, result.init_ms, result.max_memory_mb) == (0, 0, 0)

"""Status and access-log word of every way to fail."""

import inspect

import pytest

from gateway.core import errors
from gateway.core.errors import BadFunctionResponse, GatewayError, ResponseTooLarge
from gateway.core.outcomes import OUTCOMES, outcome

# The reasons that the real access log has for Lambda targets, without those about EC2, KMS, the
# zip file and the network (alb.md 4.12).
REASONS = {
    "LambdaAccessDenied",
    "LambdaBadRequest",
    "LambdaConnectionError",
    "LambdaConnectionTimeout",
    "LambdaInvalidResponse",
    "LambdaRequestTooLarge",
    "LambdaResourceNotFound",
    "LambdaResponseTooLarge",
    "LambdaServiceException",
    "LambdaThrottling",
    "LambdaUnhandled",
    "LambdaUnhandledException",
    "LambdaWebsocketNotSupported",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GatewayError", (502, "LambdaUnhandledException")),
        ("InvalidSetting", (502, "LambdaUnhandledException")),
        ("RequestRefused", (400, "")),
        ("BadRequestContent", (400, "LambdaBadRequest")),
        ("RequestTooLarge", (413, "LambdaRequestTooLarge")),
        ("MethodNotAllowed", (405, "")),
        ("TooManyForwardedAddresses", (463, "")),
        ("WebSocketNotSupported", (400, "LambdaWebsocketNotSupported")),
        ("IncompleteRequest", (400, "")),
        ("ClientLeft", (460, "")),
        ("InvocationFailed", (502, "LambdaServiceException")),
        ("FunctionUnhandled", (502, "LambdaUnhandled")),
        ("Throttled", (502, "LambdaThrottling")),
        ("CircuitOpen", (502, "LambdaConnectionError")),
        ("ServiceFailed", (502, "LambdaServiceException")),
        ("ServiceTimedOut", (504, "LambdaConnectionTimeout")),
        ("ServiceInterrupted", (502, "LambdaConnectionError")),
        ("ServiceUnreachable", (502, "LambdaConnectionError")),
        ("ConnectionTimedOut", (504, "LambdaConnectionTimeout")),
    ],
)
def test_error_has_the_status_and_reason_of_the_real_service(
    name: str, expected: tuple[int, str]
) -> None:
    assert outcome(getattr(errors, name)("text")) == expected


def test_bad_reply_and_large_reply_have_reasons_of_their_own() -> None:
    assert outcome(BadFunctionResponse("body", "null", "rule")) == (502, "LambdaInvalidResponse")
    assert outcome(ResponseTooLarge("payload", "2", "1")) == (502, "LambdaResponseTooLarge")


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
def test_reason_is_one_the_real_access_log_knows(kind: type[GatewayError]) -> None:
    assert OUTCOMES[kind][1] in REASONS | {""}


def test_refusal_by_the_service_has_a_reason_of_its_own() -> None:
    error = errors.ServiceRefused("text", "LambdaAccessDenied")

    assert outcome(error) == (502, "LambdaAccessDenied")
    assert str(error) == "text"


def test_only_what_the_client_did_wrong_and_a_silent_service_is_not_a_502() -> None:
    silent = (errors.ServiceTimedOut, errors.ConnectionTimedOut)
    for kind, (status, _) in OUTCOMES.items():
        assert (status == 504) is issubclass(kind, silent)
        assert (status not in {502, 504}) is issubclass(kind, errors.RequestRefused)


def test_every_error_of_the_core_has_an_outcome() -> None:
    assert set(OUTCOMES) == {kind for _, kind in inspect.getmembers(errors, inspect.isclass)}

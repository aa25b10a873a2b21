"""What a runtime posts to the Runtime API, as an input of core/environment.py (lambda.md 1.2)."""

import base64
from typing import NamedTuple

from gateway.core import function_errors
from gateway.core.environment import Errored, InitErrored, Input, Refused, Responded
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.runtime.api_routes import Posted

STREAMING = ("", "streaming")
"""What a runtime may say of its response mode."""


class Judged(NamedTuple):
    """An input, and what the runtime is told when it is not that its answer was accepted."""

    item: Input
    refusal: Refused | None = None


def judged_response(request_id: str, posted: Posted) -> Judged:
    """Return what a response is: an error when its head, its size or its trailers make it one."""
    if posted.header(b"lambda-runtime-function-response-mode") not in STREAMING:
        kind = "Runtime.InvalidResponseModeHeader"
        # AWS's answer; the reset has just ended the runtime and its connection.
        refusal = Refused(400, "InvalidFunctionResponseMode", "Invalid function response mode")
        return Judged(Errored(request_id, b"", kind, resets=True), refusal)
    if posted.is_too_large:
        kind = "Function.ResponseSizeTooLarge"
        text = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
        refusal = Refused(413, "RequestEntityTooLarge", text)
        return Judged(Errored(request_id, function_errors.TOO_LARGE, kind), refusal)
    kind = posted.trailer(b"lambda-runtime-function-error-type")
    if not kind:
        return Judged(Responded(request_id, posted.body))
    payload = decoded(posted.trailer(b"lambda-runtime-function-error-body"))
    return Judged(Errored(request_id, payload, function_errors.normalised(kind)))


def input_of_error(request_id: str, posted: Posted) -> Errored:
    """Return what the error of an invocation is."""
    payload = function_errors.TOO_LARGE if posted.is_too_large else posted.body
    return Errored(request_id, payload, _kind(posted))


def input_of_init_error(posted: Posted) -> InitErrored:
    """Return what an error of the init phase is."""
    return InitErrored(posted.body, _kind(posted))


def input_of_truncated(request_id: str) -> Errored:
    """Return what a response is whose end never came."""
    payload = function_errors.truncated(request_id)
    return Errored(request_id, payload, "Runtime.TruncatedResponse", resets=True)


def _kind(posted: Posted) -> str:
    return function_errors.normalised(posted.header(b"lambda-runtime-function-error-type"))


def decoded(text: str) -> bytes:
    """Return what a trailer holds as base64; as it is when it is not base64."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode()

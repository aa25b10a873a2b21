"""The one mapping from what went wrong to the status a client gets, the page with it and the
access-log word (alb.md 2.5, 4.12, 5.1)."""

from gateway.core.errors import (
    BadFunctionResponse,
    BadRequestContent,
    CircuitOpen,
    ClientLeft,
    ConnectionTimedOut,
    FunctionNotFound,
    FunctionUnhandled,
    GatewayError,
    IncompleteRequest,
    InvalidSetting,
    InvocationFailed,
    MethodNotAllowed,
    RequestRefused,
    RequestTooLarge,
    ResponseTooLarge,
    ServiceFailed,
    ServiceInterrupted,
    ServiceRefused,
    ServiceTimedOut,
    ServiceUnreachable,
    Throttled,
    TooManyForwardedAddresses,
    WebSocketNotSupported,
)
from gateway.core.http import Forwarding, HttpRequest, HttpResponse
from gateway.core.pages import Pages

CLIENT_LEFT = 460
"""What the access log has instead of a status that no client saw (alb.md 5.1)."""

BAD_REQUEST_CONTENT_STATUS = 400
"""Unpublished: taken as the client's fault; 502 is the alternative (alb.md 6.3)."""

OUTCOMES: dict[type[GatewayError], tuple[int, str]] = {
    GatewayError: (502, "LambdaUnhandledException"),
    InvalidSetting: (502, "LambdaUnhandledException"),
    RequestRefused: (400, ""),
    BadRequestContent: (BAD_REQUEST_CONTENT_STATUS, "LambdaBadRequest"),
    RequestTooLarge: (413, "LambdaRequestTooLarge"),
    MethodNotAllowed: (405, ""),
    TooManyForwardedAddresses: (463, ""),
    WebSocketNotSupported: (400, "LambdaWebsocketNotSupported"),
    IncompleteRequest: (400, ""),
    ClientLeft: (CLIENT_LEFT, ""),
    BadFunctionResponse: (502, "LambdaInvalidResponse"),
    ResponseTooLarge: (502, "LambdaResponseTooLarge"),
    InvocationFailed: (502, "LambdaServiceException"),
    FunctionUnhandled: (502, "LambdaUnhandled"),
    FunctionNotFound: (502, "LambdaResourceNotFound"),
    Throttled: (502, "LambdaThrottling"),
    ServiceRefused: (502, "LambdaServiceException"),
    CircuitOpen: (502, "LambdaConnectionError"),
    ServiceFailed: (502, "LambdaServiceException"),
    ServiceTimedOut: (504, "LambdaConnectionTimeout"),
    ServiceInterrupted: (502, "LambdaConnectionError"),
    ServiceUnreachable: (502, "LambdaConnectionError"),
    ConnectionTimedOut: (504, "LambdaConnectionTimeout"),
}


def outcome(error: GatewayError) -> tuple[int, str]:
    """Return status and error_reason for an error."""
    status, reason = OUTCOMES[type(error)]
    return status, error.error_reason if isinstance(error, ServiceRefused) else reason


def page_of(
    error: GatewayError, request: HttpRequest, pages: Pages, forwarding: Forwarding
) -> HttpResponse:
    """Return the page for an error; the reason goes to the operator, never to the client."""
    status, forwarding.error_reason = outcome(error)
    forwarding.detail = str(error)
    if isinstance(error, RequestRefused) and not forwarding.error_reason:
        # The load balancer itself refused: no target group was asked.
        forwarding.target_group_arn, forwarding.function = "", None
    response = pages.page(status, request)
    response.forwarding = forwarding
    return response

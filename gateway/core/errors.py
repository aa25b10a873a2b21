"""The exception tree. A failed platform is an exception; a failed function is an InvocationResult.

    GatewayError
    ├── InvalidSetting              an option, attribute or file the operator gave; exit status 2
    ├── RequestRefused              the client's fault: never reaches the function
    │   ├── BadRequestContent       not UTF-8 where JSON needs it
    │   ├── RequestTooLarge         body over 1 MB
    │   ├── MethodNotAllowed        TRACE, CONNECT
    │   ├── TooManyForwardedAddresses
    │   ├── WebSocketNotSupported
    │   ├── IncompleteRequest       the client left before its body was complete
    │   └── ClientLeft              the client left before its response
    ├── BadFunctionResponse         the reply breaks a rule of alb.md 2.1 to 2.4
    │   └── ResponseTooLarge
    └── InvocationFailed            the platform could not run the function
        ├── FunctionNotFound        no function has this name and qualifier
        ├── FunctionUnhandled       it raised, timed out or died
        ├── Throttled
        ├── ServiceRefused          the Lambda service said no, with a word of its own
        ├── CircuitOpen             it has failed so often that it is left alone for a while
        └── ServiceFailed           it answered that it has failed
            ├── ServiceTimedOut     it did not answer in time
            ├── ServiceInterrupted  it broke off; the function may have run
            └── ServiceUnreachable  nothing was sent
                └── ConnectionTimedOut

The one mapping from these to statuses and access-log reasons is outcomes.py.
"""


class GatewayError(Exception):
    """Anything the gateway says no to; `str()` is one line for the operator."""


class InvalidSetting(GatewayError):
    """A setting that cannot be used; the text says what to do."""


class RequestRefused(GatewayError):
    """A request that is answered without asking the function."""


class BadRequestContent(RequestRefused):
    """Bytes that are not UTF-8 where the event needs text (alb.md 1.4, 1.6)."""


class RequestTooLarge(RequestRefused):
    """A request body over the limit of Lambda targets (alb.md 1.10)."""


class MethodNotAllowed(RequestRefused):
    """TRACE, which ALB refuses (alb.md 4.1), and CONNECT, because ALB is not a tunnel."""


class TooManyForwardedAddresses(RequestRefused):
    """An X-Forwarded-For with more than 30 addresses (alb.md 1.8)."""


class WebSocketNotSupported(RequestRefused):
    """A WebSocket upgrade to a Lambda target (alb.md 1.11)."""


class IncompleteRequest(RequestRefused):
    """The client closed before the whole body came (alb.md 5.1)."""


class ClientLeft(RequestRefused):
    """The client closed before it was answered (alb.md 5.1)."""


class BadFunctionResponse(GatewayError):
    """A reply that breaks a rule: which field, what it holds, what the rule is."""

    def __init__(self, field: str, found: str, rule: str) -> None:
        super().__init__(f"{field} is {found}; {rule}")
        self.field = field
        self.found = found
        self.rule = rule


class ResponseTooLarge(BadFunctionResponse):
    """A reply over 1 MB of JSON (alb.md 2.2 step 2)."""


class InvocationFailed(GatewayError):
    """The function gave no result that could be looked at."""


class FunctionUnhandled(InvocationFailed):
    """The function raised, timed out or died (alb.md 2.5)."""


class FunctionNotFound(InvocationFailed):
    """No function has this name and qualifier (lambda.md 3.3 ResourceNotFoundException)."""


class Throttled(InvocationFailed):
    """No room to run the function now (alb.md 2.5 `LambdaThrottling`)."""


class ServiceRefused(InvocationFailed):
    """The Lambda service refused the invocation; `error_reason` is ALB's word for why (alb.md
    4.12)."""

    def __init__(self, text: str, error_reason: str) -> None:
        super().__init__(text)
        self.error_reason = error_reason


class CircuitOpen(InvocationFailed):
    """The function's platform has failed several times in a row and is given a rest."""


class ServiceFailed(InvocationFailed):
    """The Lambda service failed: a 5xx of its own, or a malformed answer (alb.md 2.5)."""


class ServiceTimedOut(ServiceFailed):
    """The Lambda service did not answer in time; the function may have run (alb.md 2.5)."""


class ServiceInterrupted(ServiceFailed):
    """The connection broke after the request; the function may have run."""


class ServiceUnreachable(ServiceFailed):
    """No connection could be made: nothing was sent."""


class ConnectionTimedOut(ServiceUnreachable):
    """No connection was made in time: nothing was sent (alb.md 2.5 `LambdaConnectionTimeout`)."""

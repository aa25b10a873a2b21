"""The Invoke API of AWS Lambda from its caller's side, as values: where a function is, what the
request says, what the reply means (lambda.md 3.1 to 3.5).

A refusal becomes the error whose access-log word ALB has for it (alb.md 4.12); what ALB has no
word for is a LambdaServiceException. Only a service that failed counts as a failure of the
platform: a function that is missing or busy, or a caller without permission, does not.
"""

import base64
import re
from binascii import Error as NotBase64
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from gateway.core.arn import partition
from gateway.core.errors import (
    BadRequestContent,
    GatewayError,
    InvalidSetting,
    RequestTooLarge,
    ServiceFailed,
    ServiceRefused,
    Throttled,
)
from gateway.core.http import Headers, header
from gateway.core.invocation import Invocation, InvocationResult, InvocationType, LogType

MAX_PAYLOAD_BYTES = {
    InvocationType.REQUEST_RESPONSE: 6_291_456,
    InvocationType.EVENT: 1024 * 1024,
    InvocationType.DRY_RUN: 6_291_456,
}
"""What the service takes (lambda.md 3.4)."""

NAME = re.compile(
    r"(?P<identifier>(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):[0-9]{12}:function:"
    r"|[0-9]{12}:function:)?[a-zA-Z0-9-_]{1,64})"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]{1,128}))?"
)
"""Name, partial ARN or ARN, with or without qualifier (lambda.md 3.1; botocore's model)."""

DNS_SUFFIXES = {
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
"""Of the partitions outside `aws` and `aws-us-gov` (botocore, data/partitions.json)."""

DENIED = (
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
"""Every AWS service refuses a caller so (Lambda API reference, "Common Errors")."""

WORDS = (
    *("EC2AccessDeniedException", "EC2ThrottledException", "EC2UnexpectedException"),
    *("ENILimitReachedException", "InvalidRuntimeException", "InvalidSecurityGroupIDException"),
    *("InvalidSubnetIDException", "InvalidZipFileException", "KMSAccessDeniedException"),
    *("KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException"),
    "SubnetIPAddressLimitReachedException",
)
"""Errors that ALB writes down under their own names (alb.md 4.12)."""

ERROR_REASONS = {
    **dict.fromkeys(DENIED, "LambdaAccessDenied"),
    **{code: f"Lambda{code}" for code in WORDS},
    "ResourceNotFoundException": "LambdaResourceNotFound",
}

REASONS_BY_STATUS = {
    401: "LambdaAccessDenied",
    403: "LambdaAccessDenied",
    404: "LambdaResourceNotFound",
}
"""Of a refusal without a code."""

TEXT_LIMIT = 300
"""Characters of an error's text that the operator gets to see."""


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A function as its caller names it, the qualifier apart."""

    identifier: str
    """Name, partial ARN or ARN."""
    qualifier: str = ""
    region: str = ""
    """Of an ARN, else empty."""


def function_name(text: str, qualifier: str = "") -> FunctionName:
    """Return the function that a text names; raises InvalidSetting for what AWS refuses."""
    found = NAME.fullmatch(text)
    if found is None:
        raise InvalidSetting(
            f"function {text!r} is not valid; it needs a name such as my-fn or my-fn:prod, "
            "or an ARN such as arn:aws:lambda:REGION:ACCOUNT:function:NAME"
        )
    own = found["qualifier"] or ""
    if own and qualifier and own != qualifier:
        raise InvalidSetting(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    return FunctionName(found["identifier"], own or qualifier, found["region"] or "")


def endpoint(region: str) -> str:
    """Return the URL of Lambda in a region."""
    suffix = DNS_SUFFIXES.get(partition(region), "amazonaws.com")
    return f"https://lambda.{region}.{suffix}"


def invoke_target(name: FunctionName) -> bytes:
    """Return path and query of a function's invocations."""
    path = f"/2015-03-31/functions/{quote(name.identifier, safe='')}/invocations"
    query = f"?Qualifier={quote(name.qualifier, safe='')}" if name.qualifier else ""
    return (path + query).encode("ascii")


def invoke_headers(invocation: Invocation, *, wants_log: bool = False) -> Headers:
    """Return the headers that say how a function is to be invoked; client context and log are for
    synchronous invocations only (lambda.md 3.1)."""
    headers: Headers = []
    trace_id = invocation.trace_id
    if trace_id and trace_id.isprintable():
        headers.append((b"X-Amzn-Trace-Id", trace_id.encode()))
    if invocation.type is not InvocationType.REQUEST_RESPONSE:
        headers.append((b"X-Amz-Invocation-Type", invocation.type.encode("ascii")))
        return headers
    if wants_log or invocation.log_type is LogType.TAIL:
        headers.append((b"X-Amz-Log-Type", b"Tail"))
    if invocation.client_context:
        context = base64.b64encode(invocation.client_context.encode())
        headers.append((b"X-Amz-Client-Context", context))
    return headers


def check_size(invocation: Invocation) -> None:
    """Refuse a payload that the service would not take; raises RequestTooLarge."""
    limit = MAX_PAYLOAD_BYTES[invocation.type]
    if len(invocation.payload) > limit:
        raise RequestTooLarge(f"the payload has {len(invocation.payload)} of at most {limit} bytes")


def invocation_result(headers: Headers, body: bytes) -> InvocationResult:
    """Return what a successful reply says; a function error is one too (lambda.md 3.2)."""
    version = header(headers, b"x-amz-executed-version") or b""
    error = header(headers, b"x-amz-function-error") or b""
    tail = decoded_log_tail(header(headers, b"x-amz-log-result") or b"")
    return InvocationResult(
        body,
        version.decode("latin-1"),
        error.decode("latin-1"),
        tail.decode(errors="replace"),
        log_tail=tail,
    )


def decoded_log_tail(result: bytes) -> bytes:
    """Return the decoded log, or nothing for what is no base64."""
    try:
        return base64.b64decode(result, validate=True)
    except NotBase64:
        return b""


def refusal(
    status: int, headers: Headers, body: bytes, *, hidden: tuple[str, ...] = ()
) -> GatewayError:
    """Return the error that a reply other than 2xx means; texts in `hidden` are not repeated."""
    code, message = error_of(headers, body)
    said = ": ".join(filter(None, (code, message)))
    for secret in filter(None, hidden):  # before the cut: a piece of a token is one too
        said = said.replace(secret, "[hidden]")
    text = f"Lambda answered {status} {said[:TEXT_LIMIT]}".rstrip()
    if status == 429:
        return Throttled(text)
    if status == 413:
        return RequestTooLarge(text)
    if code == "InvalidRequestContentException":
        return BadRequestContent(text)
    reason = ERROR_REASONS.get(code) if code else REASONS_BY_STATUS.get(status)
    if reason is None and not 400 <= status < 500:
        return ServiceFailed(text)
    return ServiceRefused(text, reason or "LambdaServiceException")


def error_of(headers: Headers, body: bytes) -> tuple[str, str]:
    """Return code and text of an error, empty where it has none (lambda.md 3.3).

    The text is cut at its first line: what follows a wrong signature's repeats the request, token
    included.
    """
    try:
        fields = orjson.loads(body)
    except ValueError:
        fields = {}
    if not isinstance(fields, dict):
        fields = {}
    given = (header(headers, b"x-amzn-errortype") or b"").decode("latin-1")
    code = given or str(fields.get("__type") or "")
    message = str(fields.get("message") or fields.get("Message") or "")
    return code.partition(":")[0].rpartition("#")[2], message.partition("\n")[0]

"""The Invoke API from its caller's side: botocore's request, and every error of its model."""

import base64
from typing import Any

import orjson
import pytest

from gateway.core.errors import (
    BadRequestContent,
    GatewayError,
    InvalidSetting,
    RequestTooLarge,
    ServiceFailed,
    ServiceRefused,
    Throttled,
)
from gateway.core.http import Headers
from gateway.core.invocation import FunctionRef, Invocation, InvocationType, LogType
from gateway.core.invoke_api import (
    FunctionName,
    check_size,
    endpoint,
    function_name,
    invocation_result,
    invoke_headers,
    invoke_target,
    refusal,
)
from gateway.core.outcomes import outcome

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:my-fn"
REFERENCE = FunctionRef("my-fn", "", ARN)
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"


def invocation(payload: bytes = b"{}", **fields: Any) -> Invocation:
    return Invocation("id", REFERENCE, payload, **fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my-fn", FunctionName("my-fn")),
        ("my-fn:prod", FunctionName("my-fn", "prod")),
        ("my-fn:$LATEST", FunctionName("my-fn", "$LATEST")),
        ("my_fn:7", FunctionName("my_fn", "7")),
        ("123456789012:function:my-fn", FunctionName("123456789012:function:my-fn")),
        ("123456789012:function:my-fn:2", FunctionName("123456789012:function:my-fn", "2")),
        (ARN, FunctionName(ARN, "", "eu-west-1")),
        (f"{ARN}:prod", FunctionName(ARN, "prod", "eu-west-1")),
    ],
)
def test_function_is_named_in_every_form_of_awss(text: str, expected: FunctionName) -> None:
    assert function_name(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a b", "my-fn:", "my-fn:a:b", "a" * 65, "../x", "arn:aws:s3:::b", f"{ARN}:$latest", "f\n"],
)
def test_what_names_no_function_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="is not valid; it needs a name such as my-fn"):
        function_name(text)


def test_qualifiers_must_agree() -> None:
    assert function_name("my-fn:prod", "prod") == function_name("my-fn", "prod")
    with pytest.raises(InvalidSetting, match="derived qualifier from the function name does not"):
        function_name("my-fn:prod", "test")


@pytest.mark.parametrize(
    "text", ["my-fn", "my-fn:prod", "my-fn:$LATEST", "123456789012:function:my-fn:2", ARN]
)
def test_target_is_botocores(text: str) -> None:
    sent = botocore_request(FunctionName=function_name(text).identifier, **qualified(text))

    assert invoke_target(function_name(text)).decode() == sent["target"]


def qualified(text: str) -> dict[str, str]:
    qualifier = function_name(text).qualifier
    return {"Qualifier": qualifier} if qualifier else {}


def botocore_request(region: str = "eu-west-1", **parameters: Any) -> dict[str, Any]:
    """Return target, URL and headers of what botocore would send for an Invoke."""
    session = pytest.importorskip("botocore.session").Session()
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
    client = session.create_client("lambda", region_name=region, **keys)
    found: dict[str, Any] = {}

    def keep(request: Any, **_: Any) -> Any:
        found["url"] = request.url
        found["headers"] = {name.lower(): value for name, value in request.headers.items()}
        response = pytest.importorskip("botocore.awsrequest").AWSResponse
        return response(request.url, 200, {}, type("Raw", (), {"stream": lambda *_: [b""]})())

    client.meta.events.register("before-send.lambda", keep)
    client.invoke(**parameters)
    client.close()
    found["target"] = found["url"].partition("amazonaws.com")[2]
    return found


@pytest.mark.parametrize(
    "region",
    [
        *("eu-west-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1"),
        *("eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"),
    ],
)
def test_endpoint_is_botocores(region: str) -> None:
    sent = botocore_request(region, FunctionName="f")

    assert sent["url"] == endpoint(region) + "/2015-03-31/functions/f/invocations"


@pytest.mark.parametrize("kind", InvocationType)
def test_headers_are_botocores(kind: InvocationType) -> None:
    asked = invocation(type=kind, client_context='{"a":1}', log_type=LogType.TAIL)
    context = base64.b64encode(b'{"a":1}').decode()
    parameters = {"InvocationType": kind.value}
    if kind is InvocationType.REQUEST_RESPONSE:
        parameters = {"LogType": "Tail", "ClientContext": context}

    theirs = botocore_request(FunctionName="f", **parameters)["headers"]

    ours = {name.decode().lower(): value.decode() for name, value in invoke_headers(asked)}
    named = {name: value for name, value in theirs.items() if name.startswith("x-amz-")}
    named.pop("x-amz-date")
    assert ours == {name: text(value) for name, value in named.items()}


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_log_is_asked_for_by_the_setting_or_the_invocation() -> None:
    tail = [(b"X-Amz-Log-Type", b"Tail")]

    assert invoke_headers(invocation()) == []
    assert invoke_headers(invocation(), wants_log=True) == tail
    assert invoke_headers(invocation(log_type=LogType.TAIL)) == tail


def test_trace_id_goes_along_unless_it_would_break_the_request() -> None:
    assert invoke_headers(invocation(trace_id="Root=1")) == [(b"X-Amzn-Trace-Id", b"Root=1")]
    assert invoke_headers(invocation(trace_id="Root=1\r\nA: b")) == []


@pytest.mark.parametrize(
    ("kind", "limit"), [("RequestResponse", 6_291_456), ("Event", 1_048_576), ("DryRun", 6_291_456)]
)
def test_payload_has_a_limit(kind: str, limit: int) -> None:
    it = InvocationType(kind)
    check_size(invocation(b"x" * limit, type=it))

    with pytest.raises(RequestTooLarge, match=rf"{limit + 1} of at most {limit} bytes"):
        check_size(invocation(b"x" * (limit + 1), type=it))


def test_result_has_what_the_headers_say() -> None:
    log = base64.b64encode("START é\n".encode())
    headers = [
        (b"x-amz-executed-version", b"7"),
        (b"X-Amz-Function-Error", b"Unhandled"),
        (b"X-Amz-Log-Result", log),
    ]

    result = invocation_result(headers, b"{}")

    assert result.payload == b"{}"
    assert (result.executed_version, result.function_error) == ("7", "Unhandled")
    assert (result.log, result.log_tail) == ("START é\n", "START é\n".encode())


def test_result_without_headers_is_plain() -> None:
    result = invocation_result([(b"X-Amz-Log-Result", b"no base64!")], b"")

    assert (result.payload, result.executed_version, result.function_error) == (b"", "", "")
    assert (result.log, result.log_tail) == ("", b"")


REASONS = {
    "TooManyRequestsException": "LambdaThrottling",
    "ResourceNotFoundException": "LambdaResourceNotFound",
    "RequestTooLargeException": "LambdaRequestTooLarge",
    "SerializedRequestEntityTooLargeException": "LambdaRequestTooLarge",
    "InvalidRequestContentException": "LambdaBadRequest",
    **{
        f"{name}Exception": f"Lambda{name}Exception"
        for name in (
            *("EC2AccessDenied", "EC2Throttled", "EC2Unexpected", "ENILimitReached"),
            *("InvalidRuntime", "InvalidSecurityGroupID", "InvalidSubnetID", "InvalidZipFile"),
            *("KMSAccessDenied", "KMSDisabled", "KMSInvalidState", "KMSNotFound"),
            "SubnetIPAddressLimitReached",
        )
    },
}
"""ALB's words (alb.md 4.12) for the errors of Lambda's model; all others are failures of the
service."""


def modelled_errors() -> list[tuple[str, int]]:
    """Return code and status of every error that Invoke has in botocore's model."""
    loaders = pytest.importorskip("botocore.loaders")
    model = loaders.Loader().load_service_model("lambda", "service-2", "2015-03-31")
    shapes = model["shapes"]
    names = [error["shape"] for error in model["operations"]["Invoke"]["errors"]]
    return [(name, shapes[name]["error"]["httpStatusCode"]) for name in names]


def test_every_modelled_error_has_albs_word() -> None:
    errors = modelled_errors()

    found = {
        code: outcome(refusal(status, [(b"x-amzn-ErrorType", code.encode())], b"{}"))[1]
        for code, status in errors
    }

    assert found == {code: REASONS.get(code, "LambdaServiceException") for code, _ in errors}
    assert len(errors) > 40


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "expected"),
    [
        (
            *(
                403,
                [(b"x-amzn-errortype", b"AccessDeniedException:http://x/")],
                b'{"Message":"no"}',
            ),
            *(ServiceRefused, (502, "LambdaAccessDenied", "403 AccessDeniedException: no")),
        ),
        (
            *(403, [], b'{"__type":"com.amazon#ExpiredTokenException","message":"old"}'),
            *(ServiceRefused, (502, "LambdaAccessDenied", "403 ExpiredTokenException: old")),
        ),
        (403, [], b"", ServiceRefused, (502, "LambdaAccessDenied", "403")),
        (404, [], b"<html>", ServiceRefused, (502, "LambdaResourceNotFound", "404")),
        (429, [], b"{}", Throttled, (502, "LambdaThrottling", "429")),
        (413, [], b"{}", RequestTooLarge, (413, "LambdaRequestTooLarge", "413")),
        (
            *(400, [(b"X-Amzn-ErrorType", b"InvalidRequestContentException")], b"[]"),
            *(BadRequestContent, (400, "LambdaBadRequest", "400 InvalidRequestContentException")),
        ),
        (400, [], b'"text"', ServiceRefused, (502, "LambdaServiceException", "400")),
        (500, [], b"\xff", ServiceFailed, (502, "LambdaServiceException", "500")),
        (503, [], b"", ServiceFailed, (502, "LambdaServiceException", "503")),
        (307, [(b"Location", b"/")], b"", ServiceFailed, (502, "LambdaServiceException", "307")),
    ],
)
def test_refusal_is_told_in_albs_words(
    status: int, headers: Headers, body: bytes, kind: type[GatewayError], expected: Any
) -> None:
    error = refusal(status, headers, body)

    assert type(error) is kind
    assert (*outcome(error), str(error)) == (*expected[:2], f"Lambda answered {expected[2]}")


def test_only_the_services_own_failure_counts_as_one() -> None:
    failed = [
        code
        for code, status in modelled_errors()
        if isinstance(refusal(status, [(b"x-amzn-ErrorType", code.encode())], b""), ServiceFailed)
    ]

    assert sorted(failed) == [
        "ENINotReadyException",
        "ResourceNotReadyException",
        "ServiceException",
    ]


def test_what_repeats_the_request_is_not_repeated() -> None:
    body = (
        b'{"message":"The signature does not match, token ' + TOKEN.encode() + b".\\n\\nThe "
        b"Canonical String for this request should have been\\n'POST\\n/\\n\\nx-amz-security-token:"
        + TOKEN.encode()
        + b"\\n'\"}"
    )

    error = refusal(403, [], body, hidden=("", TOKEN))

    assert str(error) == "Lambda answered 403 The signature does not match, token [hidden]."


def test_long_text_is_cut() -> None:
    error = refusal(500, [], b'{"message":"' + b"x" * 1000 + b'"}')

    assert str(error) == "Lambda answered 500 " + "x" * 300


@pytest.mark.parametrize("place", ["message", "__type", "header"])
def test_secret_over_the_cut_is_not_repeated_either(place: str) -> None:
    secret = "s" * 1000
    said = "x" * 200 + secret
    body = orjson.dumps({place: said}) if place != "header" else b"{}"
    headers = [(b"X-Amzn-ErrorType", said.encode())] if place == "header" else []

    text = str(refusal(403, headers, body, hidden=(secret,)))

    assert "sss" not in text
    assert len(text) < 400

"""AWS's own runtime client, asked what it would do."""

import importlib.util
import io
import logging
import sys
from typing import Any

import awslambdaric.bootstrap as aws
import pytest
from awslambdaric.lambda_runtime_exception import FaultException
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller


def aws_marshaller(execution_env: str) -> LambdaMarshaller:
    """Return the marshaller of this runtime."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EXECUTION_ENV", execution_env)
        return LambdaMarshaller()


AWS = {
    True: aws_marshaller("AWS_Lambda_python3.11"),
    False: aws_marshaller("AWS_Lambda_python3.12"),
}
"""By whether the runtime escapes what is not ASCII."""


def by_aws(result: Any, *, ensure_ascii: bool) -> object:
    """What awslambdaric posts, or its refusal, or the exception that ends its process."""
    try:
        text, _ = AWS[ensure_ascii].marshal_response(result)
    except FaultException as fault:
        return fault.exception_type, fault.msg
    try:
        return text if isinstance(text, bytes) else text.encode()
    except UnicodeEncodeError:
        return "the process ends"


def init_error_by_aws(handler: str) -> dict[str, Any]:
    """Return what awslambdaric's run() posts for a handler that it cannot load."""
    api = Posted()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, io.StringIO())
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(logging.Formatter, "converter", logging.Formatter.converter)
        with pytest.raises(SystemExit):
            aws.run(handler, api)
    return api.init_error


class Posted:
    """A Runtime API that keeps what awslambdaric posts, and the sink of its log."""

    def __init__(self, *, ensure_ascii: bool = True) -> None:
        self.marshaller = AWS[ensure_ascii]
        self.payload = b""
        self.lines: list[str] = []
        self.init_error: dict[str, Any] = {}

    def post_init_error(self, error: dict[str, Any]) -> None:
        self.init_error = error

    def post_invocation_result(self, _id: str, result: Any, *_: object) -> None:
        self.payload = result if isinstance(result, bytes) else result.encode()

    def post_invocation_error(self, _id: str, error: str, *_: object) -> None:
        self.payload = error.encode()

    def log_error(self, lines: list[str]) -> None:
        self.lines = lines


def posted(handler: Any, payload: bytes = b"{}", client: Any = aws) -> Posted:
    """Let awslambdaric run the handler once."""
    api = Posted()
    client.handle_event_request(
        api, handler, "id", payload, "application/json", None, None, "arn", 0, None, api
    )
    return api


def json_client() -> Any:
    """Return awslambdaric's bootstrap as it is where the log format is JSON."""
    spec = importlib.util.spec_from_file_location("awslambdaric.json_bootstrap", aws.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_LAMBDA_LOG_FORMAT", "json")
        spec.loader.exec_module(module)
    return module

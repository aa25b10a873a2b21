"""The handler's second argument, and the settings of the function that it tells.

In an environment this module is `awslambdaric.lambda_context`, as on Lambda, so that a context can
be pickled there and read in another process of the function.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

# awslambdaric writes characters as they are for these runtimes and escapes them for every other.
UNESCAPED_RUNTIMES = frozenset(f"AWS_Lambda_python3.{minor}" for minor in (12, 13, 14, 15))


class FunctionSettings(NamedTuple):
    """What is the same for every invocation of one function version; None is a variable not set."""

    log_group_name: str | None = None
    log_stream_name: str | None = None
    function_name: str | None = None
    memory_limit_in_mb: str | None = None
    function_version: str | None = None
    ensure_ascii: bool = True
    json_log: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionSettings:
        """Read the variables that AWS sets in an execution environment."""
        return cls(
            environ.get("AWS_LAMBDA_LOG_GROUP_NAME"),
            environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
            environ.get("AWS_LAMBDA_FUNCTION_NAME"),
            environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            environ.get("AWS_LAMBDA_FUNCTION_VERSION"),
            ensure_ascii=environ.get("AWS_EXECUTION_ENV") not in UNESCAPED_RUNTIMES,
            json_log=environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON",
        )


def _describe(subject: Any, names: tuple[str, ...] = ()) -> str:
    fields = [f"{name}={getattr(subject, name)}" for name in names or subject.__slots__]
    return f"{type(subject).__name__}([{','.join(fields)}])"


class Client:
    """The mobile application inside a client context."""

    __slots__ = (  # noqa: RUF023 - AWS's order, which repr() shows
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )

    def __init__(self, fields: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, fields.get(name))

    __repr__ = _describe


class ClientContext:
    """What the caller sent as client context; any other key is dropped."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023

    def __init__(self, fields: Mapping[str, Any]) -> None:
        client = fields.get("client")
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        self.client = None if client is None else Client(client)

    __repr__ = _describe


class CognitoIdentity:
    """The caller's Cognito identity: always there, its fields None without an identity."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, fields: Mapping[str, Any] | None) -> None:
        self.cognito_identity_id = fields.get("cognitoIdentityId") if fields else None
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId") if fields else None

    __repr__ = _describe


def _w3c_fields(client_context: Any) -> dict[str, str]:
    """Return the trace context that a caller may send inside the client context."""
    sent = client_context.get("w3c") if isinstance(client_context, dict) else None
    if not isinstance(sent, dict):
        return {}
    names = ("traceparent", "tracestate", "baggage")
    return {name: sent[name] for name in names if isinstance(sent.get(name), str)}


class LambdaContext:
    """The handler's second argument."""

    def __init__(  # noqa: PLR0913, PLR0917 - the Runtime API sends these six beside the event
        self,
        settings: FunctionSettings,
        request_id: str,
        deadline_ms: int,
        invoked_function_arn: str | None = None,
        client_context: dict[str, Any] | None = None,
        identity: dict[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> None:
        self.aws_request_id = request_id
        self.log_group_name = settings.log_group_name
        self.log_stream_name = settings.log_stream_name
        self.function_name = settings.function_name
        self.memory_limit_in_mb = settings.memory_limit_in_mb
        self.function_version = settings.function_version
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self._w3c_fields = {} if client_context is None else _w3c_fields(client_context)
        self.client_context = None if client_context is None else ClientContext(client_context)
        self.identity = CognitoIdentity(identity)
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left until the deadline, never less than 0."""
        return max(0, self._epoch_deadline_time_in_ms - time.time_ns() // 1_000_000)

    def w3c(self) -> dict[str, str]:
        """Return the W3C trace context that came with the invocation."""
        return dict(self._w3c_fields)

    def log(self, msg: object) -> None:
        """Write to the function's log without adding a line end."""
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        names = ("aws_request_id", *FunctionSettings._fields[:5], "invoked_function_arn")
        return _describe(self, (*names, "client_context", "identity", "tenant_id"))

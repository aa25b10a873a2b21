"""Load balancer, listener and target group attributes under AWS's own names (alb.md 4.1, 4.5).

One row per attribute: its name, the field that holds it, how its text is read. An attribute that
ALB has and this listener does not act on is not in the table, so that setting it is an error and
not a silence.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gateway.core.desync import Mode
from gateway.core.errors import InvalidSetting

RESPONSE_HEADERS: dict[str, bytes] = {
    "strict_transport_security": b"Strict-Transport-Security",
    "access_control_allow_origin": b"Access-Control-Allow-Origin",
    "access_control_allow_methods": b"Access-Control-Allow-Methods",
    "access_control_allow_headers": b"Access-Control-Allow-Headers",
    "access_control_allow_credentials": b"Access-Control-Allow-Credentials",
    "access_control_expose_headers": b"Access-Control-Expose-Headers",
    "access_control_max_age": b"Access-Control-Max-Age",
    "content_security_policy": b"Content-Security-Policy",
    "x_content_type_options": b"X-Content-Type-Options",
    "x_frame_options": b"X-Frame-Options",
}
"""`routing.http.response.NAME.header_value` sets or overrides that header (alb.md 4.5)."""

RESPONSE_VALUE = re.compile(r"[a-zA-Z0-9_ :;.,\\/'?!(){}\[\]@<>=\-+*#&`|~^%\"$]{0,1024}")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The settings of one load balancer, its listener and its target group, at AWS's defaults."""

    multi_value_headers: bool = False
    xff_mode: str = "append"
    xff_client_port: bool = False
    preserve_host: bool = False
    drop_invalid_headers: bool = False
    tls_headers: bool = False
    desync_mode: Mode = Mode.DEFENSIVE
    http2: bool = True
    """On HTTPS listeners; on others HTTP/2 is never spoken."""
    idle_timeout_seconds: int = 60
    client_keep_alive_seconds: int = 3600
    server_header: bool = True
    response_headers: tuple[tuple[bytes, bytes], ...] = ()
    """What the listener sets on every response, in the order given."""


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _seconds(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"{least} to {most} seconds")
        return int(text)

    return read


def _desync_mode(text: str) -> Mode:
    if text not in list(Mode):
        raise ValueError("monitor, defensive or strictest")
    return Mode(text)


def _xff_mode(text: str) -> str:
    if text not in {"append", "preserve", "remove"}:
        raise ValueError("append, preserve or remove")
    return text


Row = tuple[str, Callable[[str], Any]]

TABLE: dict[str, Row] = {
    "lambda.multi_value_headers.enabled": ("multi_value_headers", _boolean),
    "routing.http.xff_header_processing.mode": ("xff_mode", _xff_mode),
    "routing.http.xff_client_port.enabled": ("xff_client_port", _boolean),
    "routing.http.preserve_host_header.enabled": ("preserve_host", _boolean),
    "routing.http.drop_invalid_header_fields.enabled": ("drop_invalid_headers", _boolean),
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": ("tls_headers", _boolean),
    "routing.http.desync_mitigation_mode": ("desync_mode", _desync_mode),
    "routing.http2.enabled": ("http2", _boolean),
    "idle_timeout.timeout_seconds": ("idle_timeout_seconds", _seconds(1, 4000)),
    "client_keep_alive.seconds": ("client_keep_alive_seconds", _seconds(60, 604_800)),
    "routing.http.response.server.enabled": ("server_header", _boolean),
}


def names() -> list[str]:
    """Return every attribute name that can be set, sorted."""
    headers = [f"routing.http.response.{name}.header_value" for name in RESPONSE_HEADERS]
    return sorted([*TABLE, *headers])


def with_attribute(attributes: Attributes, setting: str) -> Attributes:
    """Return the attributes with one `KEY=VALUE` applied; raises InvalidSetting."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise InvalidSetting(f"attribute {setting!r} needs a value: KEY=VALUE")
    if key in TABLE:
        return _with_row(attributes, key, value)
    name = key.removeprefix("routing.http.response.").removesuffix(".header_value")
    if key == f"routing.http.response.{name}.header_value" and name in RESPONSE_HEADERS:
        return _with_response_header(attributes, key, RESPONSE_HEADERS[name], value)
    raise InvalidSetting(f"unknown attribute {key!r}; known are: {', '.join(names())}")


def _with_row(attributes: Attributes, key: str, value: str) -> Attributes:
    field, read = TABLE[key]
    try:
        return replace(attributes, **{field: read(value)})
    except ValueError as error:
        raise InvalidSetting(f"attribute {key} is {value!r} but must be {error}") from error


def _with_response_header(attributes: Attributes, key: str, name: bytes, value: str) -> Attributes:
    if not RESPONSE_VALUE.fullmatch(value):
        raise InvalidSetting(f"attribute {key} takes up to 1024 of the characters that ALB allows")
    others = tuple(item for item in attributes.response_headers if item[0] != name)
    added = ((name, value.encode("ascii")),) if value else ()  # empty = off (alb.md 4.5)
    return replace(attributes, response_headers=others + added)

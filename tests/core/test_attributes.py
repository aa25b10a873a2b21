"""Attributes under AWS's own names: each sets its field, and nothing is set in silence."""

from functools import reduce
from typing import Any

import pytest

from gateway.core.attributes import (
    RESPONSE_HEADERS,
    TABLE,
    Attributes,
    names,
    with_attribute,
)
from gateway.core.desync import Mode
from gateway.core.errors import InvalidSetting

FRAME = "routing.http.response.x_frame_options.header_value"
MAX_AGE = "routing.http.response.access_control_max_age.header_value"


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("lambda.multi_value_headers.enabled=true", "multi_value_headers", True),
        ("routing.http.xff_header_processing.mode=preserve", "xff_mode", "preserve"),
        ("routing.http.xff_header_processing.mode=remove", "xff_mode", "remove"),
        ("routing.http.xff_client_port.enabled=true", "xff_client_port", True),
        ("routing.http.preserve_host_header.enabled=true", "preserve_host", True),
        ("routing.http.drop_invalid_header_fields.enabled=true", "drop_invalid_headers", True),
        ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled=true", "tls_headers", True),
        ("routing.http2.enabled=false", "http2", False),
        ("routing.http.response.server.enabled=false", "server_header", False),
        ("routing.http.desync_mitigation_mode=strictest", "desync_mode", Mode.STRICTEST),
        ("idle_timeout.timeout_seconds=4000", "idle_timeout_seconds", 4000),
        ("client_keep_alive.seconds=604800", "client_keep_alive_seconds", 604_800),
        (f"{FRAME}=DENY", "response_headers", ((b"X-Frame-Options", b"DENY"),)),
    ],
)
def test_attribute_sets_its_field_and_no_other(setting: str, field: str, value: Any) -> None:
    changed = with_attribute(Attributes(), setting)

    assert changed != Attributes()
    assert changed == Attributes(**{field: value})


ALLOWED = {
    "routing.http.xff_header_processing.mode": "append, preserve or remove",
    "routing.http.desync_mitigation_mode": "monitor, defensive or strictest",
    "idle_timeout.timeout_seconds": "1 to 4000 seconds",
    "client_keep_alive.seconds": "60 to 604800 seconds",
}
"""Values of attributes that are not boolean."""


@pytest.mark.parametrize("key", sorted(TABLE.keys() - ALLOWED.keys()))
def test_boolean_attribute_can_be_set_both_ways(key: str) -> None:
    field = TABLE[key][0]

    assert getattr(with_attribute(Attributes(), f"{key}=true"), field) is True
    assert getattr(with_attribute(Attributes(), f"{key}=false"), field) is False


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [("idle_timeout.timeout_seconds", 1, 4000), ("client_keep_alive.seconds", 60, 604_800)],
)
def test_seconds_are_taken_from_the_least_to_the_most(key: str, least: int, most: int) -> None:
    for seconds in (least, least + 1, most - 1, most):
        with_attribute(Attributes(), f"{key}={seconds}")

    for seconds in (least - 1, most + 1):
        with pytest.raises(InvalidSetting, match=f"{least} to {most} seconds"):
            with_attribute(Attributes(), f"{key}={seconds}")


def test_later_setting_wins() -> None:
    mode = "routing.http.xff_header_processing.mode"

    settings = [f"{mode}=remove", f"{mode}=append"]

    assert reduce(with_attribute, settings, Attributes()) == Attributes()


@pytest.mark.parametrize("key", sorted(TABLE))
@pytest.mark.parametrize("value", ["", "True", "yes", "0", "none", "append ", "-1", "1.5", "²"])
def test_value_that_aws_refuses_is_refused_with_those_allowed(key: str, value: str) -> None:
    allowed = ALLOWED.get(key, "true or false")

    with pytest.raises(InvalidSetting) as caught:
        with_attribute(Attributes(), f"{key}={value}")

    assert str(caught.value) == f"attribute {key} is {value!r} but must be {allowed}"


@pytest.mark.parametrize(
    "key",
    [
        "zonal_shift.config.enabled",
        "x_frame_options",
        "routing.http.response.x_frame_options",
        "routing.http.response.server.header_value",
        "routing.http.response..header_value",
        "",
    ],
)
def test_unknown_attribute_is_refused_with_the_known_ones(key: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        with_attribute(Attributes(), f"{key}=true")

    assert str(caught.value) == f"unknown attribute {key!r}; known are: {', '.join(names())}"


def test_setting_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidSetting) as caught:
        with_attribute(Attributes(), "x")

    assert str(caught.value) == "attribute 'x' needs a value: KEY=VALUE"


def test_names_are_sorted_and_can_all_be_set() -> None:
    values = {
        "routing.http.xff_header_processing.mode": "remove",
        "routing.http.desync_mitigation_mode": "monitor",
        "idle_timeout.timeout_seconds": "60",
        "client_keep_alive.seconds": "60",
    }

    for name in names():
        with_attribute(Attributes(), f"{name}={values.get(name, 'true')}")
    assert names() == sorted(names())
    assert len(names()) == len(TABLE) + len(RESPONSE_HEADERS) == 21


@pytest.mark.parametrize("field", RESPONSE_HEADERS)
def test_response_header_is_called_as_its_attribute(field: str) -> None:
    setting = f"routing.http.response.{field}.header_value=1"

    (name, value), *_ = with_attribute(Attributes(), setting).response_headers

    assert name.decode().lower().replace("-", "_") == field
    assert value == b"1"


def test_response_header_may_hold_equals_signs() -> None:
    changed = with_attribute(Attributes(), f"{FRAME}=a=b=c")

    assert changed.response_headers == ((b"X-Frame-Options", b"a=b=c"),)


def test_response_headers_keep_the_order_of_their_last_setting() -> None:
    settings = [f"{FRAME}=DENY", f"{MAX_AGE}=60", f"{FRAME}=SAMEORIGIN"]

    changed = reduce(with_attribute, settings, Attributes())

    assert changed.response_headers == (
        (b"Access-Control-Max-Age", b"60"),
        (b"X-Frame-Options", b"SAMEORIGIN"),
    )


def test_empty_value_switches_a_response_header_off() -> None:
    changed = reduce(with_attribute, [f"{FRAME}=DENY", f"{FRAME}="], Attributes())

    assert changed == Attributes()


def test_response_header_takes_every_character_that_alb_allows() -> None:
    allowed = "azAZ09_ :;.,\\/'?!(){}[]@<>=-+*#&`|~^%"

    changed = with_attribute(Attributes(), f"{FRAME}={allowed}")

    assert changed.response_headers[0][1] == allowed.encode()


@pytest.mark.parametrize("value", ["a\r\nX-B: 1", "a\n", "\0", "a\tb", "é", "\x7f"])
def test_response_header_takes_nothing_that_could_break_a_line(value: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        with_attribute(Attributes(), f"{FRAME}={value}")

    assert str(caught.value) == (
        f"attribute {FRAME} takes up to 1024 of the characters that ALB allows"
    )


def test_response_header_of_1024_characters_is_the_longest_that_passes() -> None:
    for size in (1023, 1024):
        with_attribute(Attributes(), f"{FRAME}={size * 'x'}")

    with pytest.raises(InvalidSetting):
        with_attribute(Attributes(), f"{FRAME}={1025 * 'x'}")

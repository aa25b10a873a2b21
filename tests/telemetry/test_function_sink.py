"""Notices of a function say which one."""

import pytest

from gateway.core.notices import FunctionReloaded, OperatorWarning
from gateway.telemetry.function_sink import FunctionSink
from gateway.testing import FakeSink
from tests.core.reported import init_started
from tests.telemetry.served import served


@pytest.mark.parametrize("version", ["$LATEST", ""])
@pytest.mark.parametrize("kind", [FunctionReloaded, OperatorWarning])
def test_notice_gets_function_and_version(
    kind: type[FunctionReloaded | OperatorWarning], version: str
) -> None:
    sink = FakeSink()

    FunctionSink(sink, "shop", version).emit(kind("text"))

    assert sink.notices == [kind("text", function="shop", version=version)]


def test_notice_that_names_its_function_is_handed_on_as_it_is() -> None:
    sink, named = FakeSink(), OperatorWarning("text", "cart", "7")

    FunctionSink(sink, "shop", "$LATEST").emit(named)

    assert sink.notices == [OperatorWarning("text", "cart", "7")]


def test_other_notices_are_handed_on() -> None:
    sink = FakeSink()
    others = [served(), init_started()]

    for notice in others:
        FunctionSink(sink, "shop", "$LATEST").emit(notice)

    assert sink.notices == others

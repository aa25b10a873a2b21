"""The Protocols, and that what the core has of each fits."""

import inspect

import pytest

from gateway.core import interfaces
from gateway.core.alb import AlbCodec
from gateway.core.interfaces import EventCodec

PROTOCOLS = [
    kind
    for _, kind in inspect.getmembers(interfaces, inspect.isclass)
    if kind.__module__ == interfaces.__name__
]


def methods(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(method) for name, method in found if name[0] != "_"}


def test_two_shapes_and_what_joins_them() -> None:
    assert {kind.__name__: [*methods(kind)] for kind in PROTOCOLS} == {
        "Responder": ["respond"],
        "Invoker": ["invoke"],
        "EventCodec": ["decode", "encode"],
        "Clock": ["monotonic", "now"],
        "Sink": ["emit"],
        "Leases": ["acquire", "hold", "of", "take", "wait"],
    }


@pytest.mark.parametrize("kind", PROTOCOLS, ids=lambda kind: kind.__name__)
def test_implementations_may_call_their_arguments_as_they_like(kind: type) -> None:
    for signature in methods(kind).values():
        _, *arguments = signature.parameters.values()

        assert all(argument.kind is argument.POSITIONAL_ONLY for argument in arguments)


def test_alb_codec_has_the_shape_of_a_codec() -> None:
    promised = methods(EventCodec)

    assert {name: methods(AlbCodec)[name] for name in promised} == promised

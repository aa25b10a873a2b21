"""The life of a worker; whole ones are in tests/e2e/test_workers.py."""

from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.server.worker_life import requiring_init


def test_successor_must_not_serve_what_cannot_be_initialised() -> None:
    described = document(Function("app.handler", name="shop"), port=0)

    asked = requiring_init(described)

    assert [one.execution.requires_init for one in described.functions] == [False]
    assert [one.execution.requires_init for one in asked.functions] == [True]
    assert asked.listeners == described.listeners

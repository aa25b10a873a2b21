"""Options into a document of one function behind one listener."""

import pytest

from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting

SHOP = Function("app.handler", name="shop")


def test_function_is_behind_a_listener_through_a_target_group_of_its_name() -> None:
    made = document(SHOP, port=1234, concurrency=7, workers=2)

    assert (made.listeners[0].port, made.process.workers) == (1234, 2)
    assert made.served_by(made.listeners[0]).execution.concurrency == 7
    assert [group.name for group in made.target_groups] == ["shop"]


def test_attribute_of_the_target_group_goes_to_the_target_group() -> None:
    made = document(SHOP, attributes=Attributes(multi_value_headers=True), target_group_arn="arn")

    assert (made.target_groups[0].multi_value_headers, made.target_groups[0].arn) == (True, "arn")


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="--threads is for --in-process"):
        document(SHOP, threads=2)


def test_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="unknown options: colour"):
        document(SHOP, colour="red")

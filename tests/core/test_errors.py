"""The exception tree and its drawing; what an error says."""

import inspect
import re

from gateway.core import errors
from gateway.core.errors import BadFunctionResponse, GatewayError, ResponseTooLarge

BRANCH = re.compile(r"^    (?P<rail>[│ ]*)[├└]── (?P<name>\w+)", re.MULTILINE)


def drawn() -> dict[str, str]:
    """Return every class of the drawing with the one it hangs from."""
    parents: dict[str, str] = {}
    stack = ["GatewayError"]
    for branch in BRANCH.finditer(errors.__doc__ or ""):
        depth = len(branch["rail"]) // 4
        del stack[depth + 1 :]
        parents[branch["name"]] = stack[-1]
        stack.append(branch["name"])
    return parents


def defined() -> dict[str, str]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name: kind.__base__.__name__ for name, kind in classes if kind is not GatewayError}


def test_drawing_shows_the_tree_as_it_is() -> None:
    assert drawn() == defined()


def test_root_is_no_more_than_an_exception() -> None:
    assert GatewayError.__bases__ == (Exception,)


def test_bad_response_says_field_value_and_rule_in_one_line() -> None:
    error = BadFunctionResponse("headers.X-A", "number 1", "must be a string")

    assert str(error) == "headers.X-A is number 1; must be a string"
    assert (error.field, error.found, error.rule) == ("headers.X-A", "number 1", "must be a string")


def test_too_large_response_is_a_bad_response() -> None:
    assert isinstance(ResponseTooLarge("payload", "2 bytes", "1 byte"), BadFunctionResponse)

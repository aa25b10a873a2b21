"""Rules of a listener: the first that matches by priority, else the default action."""

import pytest

from gateway.balancer.rules import PreparedRule, Rules
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.rules import PathPattern


class Named:
    """A Responder whose body is its name."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    async def respond(self, _request: HttpRequest, /) -> HttpResponse:
        return HttpResponse(200, "OK", [], self._name)


def rule(priority: int, pattern: str, name: bytes) -> PreparedRule:
    return PreparedRule(priority, PathPattern((pattern,)), Named(name))


RULES = Rules([rule(20, "/a/*", b"20"), rule(10, "/a/b*", b"10")], Named(b"default"))


@pytest.mark.parametrize(
    ("path", "name"),
    [(b"/a/b", b"10"), (b"/a/c", b"20"), (b"/x/../a/c", b"20"), (b"/b", b"default")],
)
async def test_first_rule_that_matches_answers(path: bytes, name: bytes) -> None:
    response = await RULES.respond(HttpRequest("GET", path, path, b"", []))

    assert response.body == name

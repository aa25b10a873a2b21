"""A plan crosses to another process, as JSON or as marshalled Python."""

import json
import marshal
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from gateway.runtime.launch import MountNamespace, Plan

PLANS = [
    Plan((), {}, "/"),
    Plan(
        ("/var/task/bootstrap", "-x"),
        {"KEY": "value", "EMPTY": ""},
        "/var/task",
        MountNamespace("/srv/code", ("/srv/one", "/srv/two"), 1024, ("/opt/python",)),
        ("/sys/fs/cgroup/memory/a",),
        data_bytes=1,
        processes=2,
    ),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dumps", [json.dumps, marshal.dumps])
def test_a_plan_holds_nothing_that_cannot_cross(
    plan: Plan, dumps: Callable[[Any], str | bytes]
) -> None:
    loads: Callable[[Any], Any] = json.loads if dumps is json.dumps else marshal.loads
    fields = asdict(plan)

    crossed = loads(dumps(fields))

    assert as_lists(crossed) == as_lists(fields)


def as_lists(value: Any) -> Any:
    """Return a value with every tuple as the list that JSON makes of it."""
    if isinstance(value, dict):
        return {key: as_lists(each) for key, each in value.items()}
    return [as_lists(each) for each in value] if isinstance(value, (list, tuple)) else value

"""A document: names that lead somewhere, and parts that fit together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import Document, check
from gateway.config.function import Execution, Function
from gateway.config.https import Https
from gateway.config.listener import Listener, Rule
from gateway.config.process import Process
from gateway.config.target_group import TargetGroup
from gateway.core.errors import InvalidSetting
from gateway.core.rules import PathPattern

SHOP, CART = Function("app.handler", name="shop"), Function("cart.handler", name="cart")
GROUPS = (TargetGroup("shops", "shop"), TargetGroup("carts", "cart"))
BOTH = Document((Listener("shops", port=8080), Listener("carts", port=8081)), GROUPS, (SHOP, CART))
IN_PROCESS = Execution(is_in_process=True)


def rule(priority: int, pattern: str = "/cart/*", group: str = "carts") -> Rule:
    return Rule(priority, PathPattern((pattern,)), group)


def test_names_lead_from_a_listener_to_its_function() -> None:
    check(BOTH)

    assert [BOTH.served_by(listener) for listener in BOTH.listeners] == [SHOP, CART]


def test_listener_reaches_the_functions_of_its_rules_each_once() -> None:
    shops, carts = BOTH.listeners
    ruled = replace(shops, rules=(rule(1), rule(2, "/basket/*"), rule(3, "/shop/*", "shops")))

    assert BOTH.reached_from(ruled) == [SHOP, CART]
    assert BOTH.reached_from(carts) == [CART]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"listeners": ()}, "there is no listener; add one"),
        ({"listeners": (Listener("x"),)}, "there is no target group 'x'; known are: carts, shops"),
        ({"functions": (SHOP,)}, "there is no function 'cart'; known are: shop"),
        (
            {"functions": (SHOP, CART, SHOP)},
            "function 'shop' is there 2 times",
        ),
        ({"target_groups": (*GROUPS, GROUPS[0])}, "target group 'shops' is there 2 times"),
        (
            {"listeners": (Listener("shops"), Listener("carts"))},
            "listener on '127.0.0.1:8080' is there 2 times",
        ),
        (
            {"functions": tuple(replace(one, execution=IN_PROCESS) for one in (SHOP, CART))},
            "2 functions are in-process; they would share one set of environment variables",
        ),
        (
            {"functions": (replace(SHOP, execution=Execution(threads=1)), CART)},
            "--threads is for --in-process",
        ),
        *[
            ({"listeners": (Listener("shops", rules=rules),)}, message)
            for rules, message in [
                ((rule(1), rule(1)), "rule priority '1' is there 2 times"),
                ((rule(0),), "rule priority 0 is not between 1 and 50000"),
                ((rule(50_001),), "rule priority 50001 is not between 1 and 50000"),
                ((rule(1, "ä"),), "path pattern 'ä' is not valid"),
                ((Rule(1, PathPattern(()), "carts"),), "a rule has 1 to 5 path patterns"),
                ((rule(1, group="x"),), "there is no target group 'x'"),
            ]
        ],
        ({"process": Process(server="uvicorn")}, "--server uvicorn has one listener"),
        (
            {
                "process": Process(server="uvicorn"),
                "listeners": (Listener("shops", https=Https()),),
            },
            "--server uvicorn speaks plain HTTP",
        ),
        (
            {"process": Process(workers=51)},
            "function 'shop': 51 workers cannot share 50 invocations at once",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        check(replace(BOTH, **changes))

    assert str(caught.value).startswith(message)


def test_listeners_on_free_ports_do_not_collide() -> None:
    free = tuple(replace(one, port=0) for one in BOTH.listeners)

    check(replace(BOTH, listeners=free))


def test_worker_gets_its_part_of_every_function() -> None:
    few = replace(SHOP, execution=Execution(concurrency=3))
    check(replace(BOTH, functions=(few, CART), process=Process(workers=3)).share(0))
    whole = replace(BOTH, process=Process(workers=3))
    share = whole.share(2)

    check(share)
    assert (share.process.worker, share.process.workers) == (2, 1)
    assert [one.execution.concurrency for one in share.functions] == [16, 16]
    assert share.listeners == whole.listeners


def test_outputs_are_the_files_of_the_gateway_itself() -> None:
    process = Process(access_log="access.log", function_logs="logs")
    listeners = (Listener("shops", uds="shop.sock"), Listener("carts"))

    outputs = replace(BOTH, process=process, listeners=listeners).outputs()

    assert outputs == ["access.log", "logs", "shop.sock"]
    assert BOTH.outputs() == []


def test_document_of_the_page_fits_together() -> None:
    page = (Path(__file__).parents[2] / "docs" / "behaviour" / "documents.md").read_text()
    program = page.partition("```python\n")[2].partition("\nrun(")[0]
    names: dict[str, Any] = {}
    exec(program, names)

    check(names["document"])
    assert len(names["document"].functions) == 3

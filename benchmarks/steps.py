"""Where the microseconds of one request go: each step of the own front alone, in a tight loop.

The sum is less than what the server takes, because between steps of other code the processor's
caches and branch predictors forget; `make bench` measures that. Run: python benchmarks/steps.py
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from codec import LISTENER, REPEAT_SECONDS, REPEATS, timed
from heads import HEADS, request_bytes

from gateway.compose import in_process, listener
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.desync import has_plain_fields, is_plain
from gateway.core.http import Forwarding, HttpRequest
from gateway.invokers.code import HandlerCode
from gateway.wire.h1 import HEAD_END, RequestParser, response_head

DATE = b"Sun, 22 Nov 2026 19:15:44 GMT"
COUNTS = (2, 12)


def steps(count: int) -> dict[str, Callable[[], object]]:
    """Return what happens to a GET with this many headers, in order."""
    head = request_bytes(count)
    parser = RequestParser()
    parser.feed_head(head)
    headers = parser.headers
    hello = Function("app.handler", Path("examples/hello"))
    described = document(hello, is_in_process=True, threads=0)
    [function], [served] = described.functions, described.listeners
    invoker = in_process.in_process(function, HandlerCode(function.handler, function.code))
    action = listener.forward(described, served, LISTENER)
    balancer = listener.balancer(served, action, invoker)
    request = HttpRequest("GET", b"/", b"/", b"", headers)
    codec = action.codec
    invocation = balancer.begin(request, Forwarding())
    result = invoker.run(invocation)
    response = balancer.conclude(request, Forwarding(), result)
    return {
        "find the end of the head": lambda: HEAD_END.search(head),
        "parse it": lambda: parser.feed_head(head),
        "look it over": lambda: (is_plain(head), has_plain_fields(b"GET", "1.1", headers)),
        "make the request": lambda: HttpRequest("GET", b"/", b"/", b"", headers),
        "to the invocation": lambda: balancer.begin(request, Forwarding()),
        "- of which request to event": lambda: codec.encode(request),
        "run the handler": lambda: invoker.run(invocation),
        "reply to response": lambda: balancer.conclude(request, Forwarding(), result),
        "render the head": lambda: response_head(response, date=DATE, connection=b"keep-alive"),
    }


async def task_us() -> float:
    """Return what a task costs, made and run."""
    loop = asyncio.get_running_loop()

    async def nothing() -> None:
        pass

    began = loop.time()
    for _ in range(20_000):
        await loop.create_task(nothing())
    return round((loop.time() - began) / 20_000 * 1e6, 3)


def main() -> None:
    """Print microseconds by step, the median of several repeats."""
    assert set(COUNTS) <= set(HEADS)
    found = {
        name: [timed(steps(count)[name], REPEATS, REPEAT_SECONDS)["median_us"] for count in COUNTS]
        for name in steps(COUNTS[0])
    }
    for name, (few, many) in found.items():
        print(f"{name:30} {few:8.2f} {many:8.2f}")
    print(f"{'a task':30} {asyncio.run(task_us()):8.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

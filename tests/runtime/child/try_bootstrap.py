"""Executed by other interpreters: try_bootstrap.py DIRECTORY. Prints "works" and the minor."""

import importlib
import json
import sys
import uuid
from decimal import Decimal
from typing import Any, NamedTuple

package = sys.modules["awslambdaric"] = type(sys)("awslambdaric")
package.__path__ = [sys.argv[1]]
bootstrap = importlib.import_module("awslambdaric.bootstrap")
lambda_context = importlib.import_module("awslambdaric.lambda_context")
importlib.import_module("awslambdaric.bootstrap_loop")


class Point(NamedTuple):
    """A namedtuple."""

    x: Any
    y: Any


SETTINGS = lambda_context.FunctionSettings(function_name="f")
EVENT = b'{"requestContext":{"elb":{"targetGroupArn":"arn"}},"path":"/caf\xc3\xa9","body":""}'


def outcome(handler, payload=b"{}"):
    context = lambda_context.LambdaContext(SETTINGS, "id", 0)
    return bootstrap.invoke(handler, payload, context, SETTINGS)


async def waits(event, context):
    """A handler of the wrong kind."""


def fails(event, context):
    raise ValueError("bad")


reply = outcome(lambda event, context: {"statusCode": 200, "body": event["path"]}, EVENT)
assert json.loads(reply.payload) == {"statusCode": 200, "body": "/caf\xe9"}, reply
values = [Point(1, Decimal("1.50")), b"bytes", float("nan"), {1: None}]
faithful = b'[{"x": 1, "y": 1.50}, "bytes", NaN, {"1": null}]'
assert outcome(lambda event, context: values).payload == faithful
assert outcome(waits).error_type == "Runtime.MarshalError"
assert outcome(lambda event, context: [uuid.uuid4()]).error_type == "Runtime.MarshalError"

failure = outcome(fails)
trace = json.loads(failure.payload)["stackTrace"]
assert len(trace) == 1, trace
assert "in fails" in trace[0], trace
assert "^" not in trace[0], trace
assert failure.log.startswith("[ERROR] ValueError: bad\nTraceback"), failure.log
assert b"exit status 3" in outcome(lambda event, context: sys.exit(3)).payload
assert outcome(lambda event, context: context.nothing).error_type == "AttributeError"
assert bootstrap.load_handler("try_bootstrap_handler.get")(1, None) == 1
for name in ("nothing", "sys.x", "no_such_module.x", "json.nothing", "try_bootstrap_handler.nope"):
    try:
        refusal = bootstrap.load_handler(name)
    except bootstrap.InitError as error:
        refusal = error.error_type
    assert str(refusal).startswith("Runtime."), name
logs = importlib.import_module("awslambdaric.logs")
logs.configure_logging(lambda: "id", {"AWS_LAMBDA_LOG_FORMAT": "JSON"})
print("works", sys.version_info.minor)

"""A function with handlers of every kind, in a directory of its own."""

from pathlib import Path

from gateway.config.function import Function
from gateway.core.invocation import Invocation

PATIENCE_SECONDS = 10.0


NAME = "gw_composed"


MODULE = """
import json, logging, os, sys

def handler(event, context):
    print("printed", event)
    logging.getLogger().warning("logged")
    return [event, context.function_name, os.environ.get("STAGE")]

def served(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}

def fails(event, context):
    raise ValueError("no")

number = 7
"""


WHERE = "import os\n\n\ndef where(event, context):\n    return os.getpid()\n"


def asked(function: Function, event: str = "{}") -> Invocation:
    return Invocation("8dfd2e43", function.reference(), event.encode())


def save(directory: Path, text: str) -> None:
    """Put the whole file in place at once, so that the watch sees one change."""
    written = directory / "being_written"
    written.write_text(text)
    written.replace(directory / f"{NAME}.py")


NO_HANDLERS = [
    ("gw_none.handler", "Runtime.ImportModuleError: Unable to import module 'gw_none'"),
    (f"{NAME}.none", f"Runtime.HandlerNotFound: Handler 'none' missing on module '{NAME}'"),
    (NAME, f"Runtime.MalformedHandlerName: Bad handler '{NAME}'"),
]


NO_FUNCTION = (f"{NAME}.number", "the handler is a int, not a function; name one: module.function")

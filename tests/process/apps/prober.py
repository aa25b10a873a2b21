"""A function that runs what it is sent, for tests that attack from inside an environment."""

import contextlib
import io
import os
import traceback


def handler(event, _context):
    code = event["body"]
    if code == "die":
        os._exit(1)
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        try:
            exec(code, {})
        except Exception:  # noqa: BLE001 - the test is told
            traceback.print_exc(file=written)
    return {"statusCode": 200, "body": written.getvalue()}

"""A runtime that does not keep to the Runtime API: how is in the file `mode` or in the path."""

import http.client
import json
import os
import signal
import socket
import sys
from pathlib import Path

BASE = "/2018-06-01/runtime"
ADDRESS = os.environ["AWS_LAMBDA_RUNTIME_API"]
GOOD = {"statusCode": 200, "body": "good"}
STATUSES = []


def call(method, path, body=None):
    """Do one request; returns status, headers and body."""
    connection = http.client.HTTPConnection(ADDRESS, timeout=600)
    connection.request(method, BASE + path, body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def answer(request_id, body):
    """Answer an invocation and note the status."""
    status, _, _ = call("POST", f"/invocation/{request_id}/response", body)
    STATUSES.append(status)


def good(request_id):
    """Answer as one should, with the statuses of former answers."""
    body = json.dumps({**GOOD, "body": json.dumps(STATUSES)})
    STATUSES.clear()
    answer(request_id, body)
    STATUSES.clear()


def twice(request_id):
    """Answer twice."""
    answer(request_id, json.dumps(GOOD))
    answer(request_id, json.dumps({**GOOD, "body": "second"}))


def foreign(request_id):
    """Answer for another request first."""
    answer("8dfd2e43-0000-4000-8000-000000000000", json.dumps({**GOOD, "body": "foreign"}))
    answer(request_id, json.dumps(GOOD))


def large(request_id):
    """Answer with 7 MB."""
    answer(request_id, b"x" * 7_000_000)


def half(request_id):
    """Close the connection in the middle of an answer."""
    host, _, port = ADDRESS.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {BASE}/invocation/{request_id}/response HTTP/1.1\r\nHost: {ADDRESS}\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())


def leaving(_):
    """End without an answer."""
    os._exit(3)


ACTIONS = {
    "/good": good,
    "/twice": twice,
    "/foreign": foreign,
    "/large": large,
    "/half": half,
    "/leave": leaving,
}


def main():
    """Serve invocations, or do what the mode says."""
    mode = Path("mode").read_text().strip()
    if mode == "exit":
        sys.exit(4)
    while mode == "sleep":
        signal.pause()
    while True:
        _, headers, event = call("GET", "/invocation/next")
        ACTIONS[json.loads(event)["path"]](headers["Lambda-Runtime-Aws-Request-Id"])


main()

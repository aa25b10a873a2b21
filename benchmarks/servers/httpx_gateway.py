"""The least gateway that one would write with httpx: an ASGI application that posts an event and
answers with the reply; no signature, no limits, no checks.

    python benchmarks/servers/httpx_gateway.py INVOKE_URL
"""

import asyncio
import socket
import sys

import httpx
import orjson
import uvicorn

URL = sys.argv[1]
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)


class Gateway:
    """The application, and its client."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(limits=LIMITS, timeout=30.0, trust_env=False)

    async def __call__(self, scope, receive, send) -> None:
        """Forward one request."""
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        event = {
            "requestContext": {"elb": {"targetGroupArn": "arn"}},
            "httpMethod": scope["method"],
            "path": scope["path"],
            "queryStringParameters": {},
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "body": body.decode(),
            "isBase64Encoded": False,
        }
        answer = await self._client.post(URL, content=orjson.dumps(event))
        reply = orjson.loads(answer.content)
        payload = reply["body"].encode()
        headers = [(name.encode(), value.encode()) for name, value in reply["headers"].items()]
        headers.append((b"content-length", b"%d" % len(payload)))
        start = {"type": "http.response.start", "status": reply["statusCode"], "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": payload})


def main() -> None:
    """Serve until the process is ended."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        Gateway(),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()

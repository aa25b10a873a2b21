"""The gateway behind middleware and mounts of Starlette, which wrap what it is given."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from gateway.asgi import application

CODE = Path(__file__).parent

app = Starlette(
    routes=[Mount("/", application("echo.handler", code=CODE))],
    middleware=[Middleware(GZipMiddleware)],
)

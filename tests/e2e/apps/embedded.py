"""The gateway inside a module of the user's own, for any ASGI server."""

from pathlib import Path

from gateway.asgi import application

CODE = Path(__file__).parent

app = application("echo.handler", code=CODE, as_url="https://shop.example.org:443")

broken = application("no_such_module.handler", code=CODE)

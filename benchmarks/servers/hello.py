"""The smallest ASGI application, for servers that are started by their own command lines."""

from baseline import hello

__all__ = ["hello"]

"""The user's handler: found, imported, and imported afresh after a save.

A handler that cannot be loaded is not an exception here but a value, because Lambda too accepts the
invocation and then answers with the error of the init phase (lambda.md 1.10).
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.core.errors import InvalidSetting
from gateway.runtime.bootstrap import InitError, load_handler

Handler = Callable[[Any, Any], Any]
OWN_PACKAGE = __name__.partition(".")[0]


class HandlerCode:
    """One handler string in one code directory, which stands first on `sys.path` as /var/task
    does."""

    def __init__(self, handler: str, directory: Path) -> None:
        self.handler = handler
        self.directory = directory.resolve()
        self._check()

    def _check(self) -> None:
        if not self.directory.is_dir():
            raise InvalidSetting(f"--code {self.directory} is no directory that can be read")
        module = self.handler.rpartition(".")[0].replace("/", ".")
        if module.partition(".")[0] == OWN_PACKAGE:
            raise InvalidSetting(
                f"the module {module!r} has the name of this program's own package; "
                "rename your file, for example to app.py, and serve app.handler"
            )

    def load(self) -> Handler | InitError:
        """Import the module and return its handler, or why there is none."""
        path = str(self.directory)
        if path not in sys.path:
            sys.path.insert(0, path)
        try:
            return load_handler(self.handler)
        except InitError as error:
            return error

    def reload(self) -> Handler | InitError:
        """Forget every module that came from the code directory and load again."""
        for name, module in list(sys.modules.items()):
            if self._is_ours(module):
                del sys.modules[name]
        importlib.invalidate_caches()
        return self.load()

    def _is_ours(self, module: object) -> bool:
        file = getattr(module, "__file__", None)
        if file is None:
            return any(self._is_inside(path) for path in getattr(module, "__path__", ()))
        return self._is_inside(file)

    def _is_inside(self, path: str) -> bool:
        resolved = Path(path).resolve()
        return resolved.is_relative_to(self.directory) and "site-packages" not in resolved.parts

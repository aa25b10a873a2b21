"""The user's handler: found, imported, and imported afresh after a save.

A handler that cannot be loaded is not an exception here but a value, because Lambda too accepts the
invocation and then answers with the error of the init phase (lambda.md 1.10).
"""

import importlib
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from gateway.core.errors import InvalidSetting
from gateway.runtime.child.bootstrap import InitError, load_handler

Handler = Callable[[Any, Any], Any]
OWN_PACKAGE = __name__.partition(".")[0]
INSTALLED = f"{os.sep}site-packages{os.sep}"
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


class HandlerCode:
    """One handler string in one code directory, which is first on `sys.path` as /var/task
    is, with the layers behind it."""

    def __init__(self, handler: str, directory: Path, layers: Iterable[Path] = ()) -> None:
        self.handler = handler
        self.directory = readable(directory)
        layers = [layer.resolve() for layer in layers]
        self._path = [str(self.directory), *layer_path(layers)]
        self._layers = layers
        self._reloading = threading.Lock()
        self._refuse_own_name()
        self._refuse_hidden_name()

    def _refuse_own_name(self) -> None:
        module = self.handler.rpartition(".")[0].replace("/", ".")
        if module.partition(".")[0] == OWN_PACKAGE:
            raise InvalidSetting(
                f"the module {module!r} has the name of this program's own package; "
                "rename your file, for example to app.py, and serve app.handler"
            )

    def _refuse_hidden_name(self) -> None:
        """Raise InvalidSetting for a file that an import would not find: what is loaded wins."""
        name = self.handler.replace("/", ".").partition(".")[0]
        if name in self.shared_modules():
            raise InvalidSetting(
                f"in this process {name!r} is a module that the gateway has loaded, and not the "
                f"one in {self.directory}; rename it, or serve it without --in-process"
            )

    def shared_modules(self) -> list[str]:
        """Return the modules that the function has a file of but gets from the gateway."""
        names = {name for directory in self._path for name in modules_in(Path(directory))}
        return sorted(name for name in names & set(sys.modules) if self._is_gateways(name))

    def _is_gateways(self, name: str) -> bool:
        if name in sys.stdlib_module_names:
            return not self._is_ours(name, sys.modules[name])
        file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        return (
            isinstance(file, str) and INSTALLED in file and not file.startswith(tuple(self._path))
        )

    def load(self) -> Handler | InitError:
        """Import the module and return its handler, or the reason why that fails."""
        # In one assignment: a handler may be importing on another thread.
        sys.path[:] = [*self._path, *(other for other in sys.path if other not in self._path)]
        try:
            return load_handler(self.handler)
        except InitError as error:
            self._forget_failed(error)
            return error

    def _forget_failed(self, error: InitError) -> None:
        """Delete the bytecode of modules that failed midway: those are not in `sys.modules`."""
        failed = error.__cause__.__traceback__ if error.__cause__ else None
        for frame, _ in traceback.walk_tb(failed):
            if self._is_inside(frame.f_code.co_filename):
                forget_bytecode(frame.f_globals.get("__spec__"))

    def reload(self) -> Handler | InitError:
        """Forget every module that came from code and layers and load again; the old ones come back
        when that fails, because the old handler may import them later.

        One thread at a time: a save and an invocation may both ask for it.
        """
        with self._reloading:
            return self._loaded_afresh()

    def _loaded_afresh(self) -> Handler | InitError:
        old = {name: sys.modules.pop(name) for name in self._loaded_modules()}
        for module in old.values():
            forget_bytecode(getattr(module, "__spec__", None))
        importlib.invalidate_caches()
        handler = self.load()
        if isinstance(handler, InitError):
            for name in self._loaded_modules():
                sys.modules.pop(name, None)
            sys.modules.update(old)
        return handler

    def _loaded_modules(self) -> list[str]:
        """Return names before the first one goes: a namespace package asks its parent for its
        path. Packages with native modules stay: most of those cannot be loaded twice."""
        ours = {
            name: module
            for name, module in list(sys.modules.items())
            if self._is_ours(name, module)
        }
        native = {top_of(name) for name, module in ours.items() if is_native(module)}
        return [name for name in ours if top_of(name) not in native]

    def _is_ours(self, name: str, module: object) -> bool:
        if name.partition(".")[0] in {"__main__", OWN_PACKAGE}:
            return False  # `.venv/bin/gateway` and a checkout may lie in the code directory
        fields = getattr(module, "__dict__", {})  # getattr(module, "__file__") may run their code
        file = fields.get("__file__")
        places = [file] if file else fields.get("__path__", ())
        return any(isinstance(place, str) and self._is_inside(place) for place in places)

    def _is_inside(self, path: str) -> bool:
        """Say whether a file is in code or layers, be it by a link that leads out of them."""
        places = (Path(path), Path(path).resolve())
        if places[1].is_relative_to(STANDARD_LIBRARY):
            return False
        if any(place.is_relative_to(layer) for place in places for layer in self._layers):
            return True
        inside = [place for place in places if place.is_relative_to(self.directory)]
        return any(
            "site-packages" not in place.relative_to(self.directory).parts for place in inside
        )


def top_of(name: str) -> str:
    """Return the top-level package of a module."""
    return name.partition(".")[0]


def is_native(module: object) -> bool:
    """Say whether a module is a native library."""
    file = getattr(module, "__dict__", {}).get("__file__")
    return isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES))


def layer_path(layers: Iterable[Path]) -> list[str]:
    """Return where Python finds modules in layers, later ones first (lambda.md 8)."""
    roots = [layer.resolve() / "python" for layer in layers][::-1]
    name = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return [*(str(root / name) for root in roots), *map(str, roots)]


def modules_in(directory: Path) -> Iterator[str]:
    """Yield the names of modules and packages in a directory; none when it cannot be read."""
    with suppress(OSError):
        for entry in os.scandir(directory):
            name, dot, suffix = entry.name.partition(".")
            is_package = not dot and Path(entry.path, "__init__.py").exists()
            if is_package or suffix == "py" or suffix.endswith("so"):
                yield name


def readable(directory: Path) -> Path:
    """Return the absolute path of a directory; raises InvalidSetting when it cannot be listed."""
    try:
        found = directory.resolve()
        next(found.iterdir(), None)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise InvalidSetting(f"--code {directory} cannot be read: {error}") from error
    return found


def forget_bytecode(spec: object) -> None:
    """Delete the cached bytecode of a module, which its spec names.

    Python takes it for current when the source has the same size and the same second of change, so
    a quick second save would go unseen.
    """
    cached = getattr(spec, "cached", None)
    if cached:
        with suppress(OSError):
            Path(cached).unlink(missing_ok=True)

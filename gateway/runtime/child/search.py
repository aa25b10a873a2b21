"""Where a function's modules are found: what bootstrap.py of AWS's Python images does first.

The order is the code, the layers and then the packages of the interpreter, as read from the images
of Python 3.10 and 3.11: LAMBDA_TASK_ROOT, /opt/python/lib/python3.x/site-packages, /opt/python, and
since 3.11 site-packages before the standard library
(https://docs.aws.amazon.com/lambda/latest/dg/python-image.html, "search path"). Where the function
sets PYTHONPATH, that takes the place of the layers.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable

LAYERS = "_GATEWAY_LAYERS"
"""The variable with the directories of layers; it is gone when the function's code runs."""

# Modules of the standard library, as of 2026-11-30, that awslambdaric 4.2.2 has loaded before a
# function's own: read from `sys.modules` in handlers under Python 3.10, 3.12 and 3.13.
_LOADED_ON_LAMBDA = frozenset(
    (  # noqa: SIM905 - a list of these is three times as long
        "__future__ __main__ _abc _codecs _collections _collections_abc _colorize _decimal "
        "_functools _imp _io _json _locale _operator _signal _sitebuiltins _sre _stat _string "
        "_thread _tokenize _warnings _weakref _weakrefset abc atexit awslambdaric builtins "
        "codecs collections contextlib copyreg decimal encodings enum functools genericpath "
        "importlib io itertools json keyword linecache logging marshal math numbers operator os "
        "posix posixpath pwd re reprlib runtime_client simplejson site sre_compile "
        "sre_constants sre_parse stat string sys threading time token tokenize traceback types "
        "warnings weakref zipimport"
    ).split()
)
# There it waits for the next invocation on a thread of concurrent.futures.
_LOADED_SINCE_3_12 = frozenset({"_heapq", "_queue", "concurrent", "heapq", "queue", "textwrap"})


def loaded_on_lambda(version: tuple[int, int]) -> frozenset[str]:
    """Return the modules that no file of a function can take the place of."""
    return _LOADED_ON_LAMBDA | (_LOADED_SINCE_3_12 if version >= (3, 12) else frozenset())


def arrange() -> list[str]:
    """Put the function's directories first on `sys.path` and return them."""
    own = [os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()]
    layers = [entry for entry in os.environ.pop(LAYERS, "").split(os.pathsep) if entry]
    theirs = os.environ.get("PYTHONPATH")
    if theirs is None:
        own += layers
        os.environ["PYTHONPATH"] = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")
    first = [*own, *(_site_packages() if theirs is None else [])]
    sys.path[:] = [*first, *(entry for entry in sys.path if entry not in first)]
    if theirs:
        own += [os.path.abspath(entry) for entry in theirs.split(os.pathsep) if entry]
    _forget_missing(own)
    prefer_own_modules(own)
    return own


def _site_packages() -> list[str]:
    """Return the directory of packages that comes before the standard library since 3.11."""
    major, minor = sys.version_info[:2]
    name = f"{sys.prefix}/lib/python{major}.{minor}/site-packages"
    return [name] if (major, minor) >= (3, 11) and name in sys.path else []


def _forget_missing(own: list[str]) -> None:
    """Have the directories of the plan looked at again: where they are now, others were before."""
    cache = sys.path_importer_cache
    for path in [path for path, finder in cache.items() if finder is None or path in own]:
        del cache[path]


def prefer_own_modules(own: Iterable[str]) -> None:
    """Read the function's .pth files, and forget loaded modules that it has another of."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    candidates = loaded - loaded_on_lambda(sys.version_info[:2])
    for directory in own:
        names = _names(directory)
        if any(name.endswith(".pth") for name in names):
            site.addsitedir(directory)
        for name in candidates & {name.partition(".")[0] for name in names}:
            if _is_module(directory, name, names):
                forget(name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_module(directory: str, name: str, names: list[str]) -> bool:
    """Say whether `import name` would find something here that hides what comes later."""
    if name in names and os.path.exists(f"{directory}/{name}/__init__.py"):
        return True
    extensions = (n for n in names if n.startswith(f"{name}.") and n.endswith(".so"))
    return f"{name}.py" in names or any(extensions)


def forget(top: str) -> None:
    """Take a module and all below it out of `sys.modules`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        del sys.modules[name]

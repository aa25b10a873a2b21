"""Which packages a function takes from the interpreter that AWS would not have.

A finder before all others sees every first import of a top-level name. What it finds in neither the
code, the layers nor the standard library is a package of this machine: it can be imported, unless
AWS's runtime does not ship it and the function is to be held to that. The package `gateway` that
this file belongs to cannot be imported at all.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from .search import forget

STRICT = "_GATEWAY_STRICT_PACKAGES"
"""The variable that has packages refused; it is gone when the function's code runs."""

# What the runtimes have beside the standard library as of 2026-11-30: the SDK with what it needs,
# and the runtime client (https://docs.aws.amazon.com/lambda/latest/dg/python-package.html, "Runtime
# dependencies in Python"). pip comes with the interpreter, up to 3.11 with setuptools.
_SHIPPED = frozenset(
    {
        "awslambdaric",
        "boto3",
        "botocore",
        "dateutil",
        "jmespath",
        "pip",
        "runtime_client",
        "s3transfer",
        "simplejson",
        "six",
        "snapshot_restore_py",
        "urllib3",
    }
)
_SETUPTOOLS = frozenset({"_distutils_hack", "pkg_resources", "setuptools"})
SHIPPED = {
    **{(3, minor): _SHIPPED | _SETUPTOOLS for minor in (9, 10, 11)},
    **{(3, minor): _SHIPPED for minor in (12, 13, 14, 15)},
}
"""Top-level names by version of Python."""

_HERE = __file__.rpartition("/")[0]
_OURS = os.path.dirname(os.path.dirname(_HERE))
_STANDARD = os.path.dirname(os.__file__)
_SITES = ("/site-packages/", "/dist-packages/")
_STANDARD_NAMES: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())


class Packages:
    """A finder for `sys.meta_path`, and its notes."""

    def __init__(self, own: Iterable[str], *, is_strict: bool = False) -> None:
        self._own = tuple(f"{path}/" for path in own)
        self._at_start = set(sys.path)
        others = (f"{path}/" for path in sys.path)
        self._sites = tuple(p for p in others if _is_site(p) and p not in self._own)
        self._is_strict = is_strict
        self._shipped = SHIPPED.get(sys.version_info[:2], _SHIPPED)
        self._is_resting = False
        self._brought: set[str] = set()
        """Names that other packages have imported."""
        self.pending: list[str] = []
        """Names that the function's files have imported since they were last asked for."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find; raises ModuleNotFoundError for what is refused."""
        if path is not None or name in _STANDARD_NAMES or self._is_resting:
            return None
        spec = self._found(name, target)
        place = _place(spec)
        if not place or self._is_functions(place) or _is_standard(place):
            return spec
        if name == "gateway" and os.path.dirname(place) == _OURS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name not in self._shipped:
            self._note(name, place)
        return spec

    def _found(self, name: str, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, None, target)
            if spec is not None:
                return spec  # type: ignore[no-any-return]
        return None

    def _note(self, name: str, place: str) -> None:
        if self._is_strict:
            where = place[: place.rfind(f"/{name}")]
            raise ModuleNotFoundError(
                f"No module named {name!r} in the code or a layer, and AWS's runtime has none: it "
                f"is only in {where}; add it to the package, or leave out --strict-packages",
                name=name,
            )
        if self._is_functions_import():
            self.pending.append(name)
        else:
            self._brought.add(name)

    def _is_functions(self, place: str) -> bool:
        """Say whether a file comes with the function, or from a directory that it has added."""
        if place.startswith(self._sites):
            return False
        added = [f"{path}/" for path in sys.path if path not in self._at_start]
        return place.startswith((*self._own, *added))

    def _is_functions_import(self) -> bool:
        """Say whether the import is in a file that comes with the function.

        What a package of this machine imports in turn needs no mention: whatever installs the
        package into the code brings it along.
        """
        for file in _importers():
            if file == __file__ or file.startswith("<frozen") or _is_standard(file):
                continue
            return file.startswith(f"{_HERE}/") or self._is_functions(file) or file[:1] == "<"
        return True

    def news(self) -> list[str]:
        """Return the names that were imported since the last call, each once."""
        names, self.pending = {name for name in self.pending if name in sys.modules}, []
        used = self._brought & self._used() if self._brought else set()
        self._brought -= used
        return sorted(names | used)

    def _used(self) -> set[str]:
        """Return the modules that the function's own have a name of, which another import of a
        module that is loaded already gives them."""
        found: set[str] = set()
        for module in list(sys.modules.values()):
            if self._is_functions(_file_of(module)):
                found.update(map(_origin, list(vars(module).values())))
        return found

    def load_unseen(self, name: str) -> ModuleType:
        """Import a module for this runtime alone, unless it is the function's own; raises what it
        raises."""
        is_known = name in sys.modules
        self._is_resting = True
        try:
            module = importlib.import_module(name)
        finally:
            self._is_resting = False
        if not is_known and not self._is_functions(module.__file__ or ""):
            forget(name)
        return module


def _file_of(module: object) -> str:
    """Return the file of what is in `sys.modules`, which may be anything."""
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return file if isinstance(file, str) else ""


def _origin(value: Any) -> str:
    """Return the top-level module that a value comes from, without running code of the value."""
    if isinstance(value, ModuleType):
        name = vars(value).get("__name__", "")
    else:
        name = (
            value if isinstance(value, (type, FunctionType, BuiltinFunctionType)) else type(value)
        ).__module__
    return name.partition(".")[0] if isinstance(name, str) else ""


def _importers() -> Iterator[str]:
    frame = sys._getframe(1)  # noqa: SLF001 - what traceback uses, without its import
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back  # type: ignore[assignment]


def _is_site(place: str) -> bool:
    return any(name in place for name in _SITES)


def _is_standard(place: str) -> bool:
    return place.startswith(f"{_STANDARD}/") and not _is_site(place)


def _place(spec: ModuleSpec | None) -> str:
    """Return the file of a module, or a directory of a namespace package; empty for neither."""
    if spec is None:
        return ""
    if spec.has_location and spec.origin:
        return spec.origin
    return next((f"{path}/" for path in spec.submodule_search_locations or ()), "")


def watched(own: Iterable[str]) -> Packages:
    """Put the finder before all others."""
    packages = Packages(own, is_strict=os.environ.pop(STRICT, "") == "1")
    sys.meta_path.insert(0, packages)
    return packages

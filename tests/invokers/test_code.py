"""The handler that a string in a code directory means, now and after a save."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from os import utime
from pathlib import Path
from types import ModuleType

import pytest

from gateway.core.errors import InvalidSetting
from gateway.invokers.code import Handler, HandlerCode
from gateway.runtime.child.bootstrap import InitError


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[None]:
    """Forget what a test imported and where from."""
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A code directory, not the first one of its kind on disk or on the path."""
    path = tmp_path / "code"
    path.mkdir()
    return path


def write(file: Path, answer: object) -> None:
    """Write a module whose handler gives an answer."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"def handler(event, context):\n    return {answer!r}\n")


def loaded(found: Handler | InitError) -> Handler:
    assert not isinstance(found, InitError), found
    return found


@pytest.mark.parametrize(
    ("handler", "file"),
    [
        ("gw_app.handler", "gw_app.py"),
        ("gw_sub/app.handler", "gw_sub/app.py"),
        ("gw_sub.app.handler", "gw_sub/app.py"),
        ("gw_sub/deep.app.handler", "gw_sub/deep/app.py"),
        ("gw_pkg.handler", "gw_pkg/__init__.py"),
    ],
)
def test_handler_is_found_in_the_code_directory(handler: str, file: str, directory: Path) -> None:
    write(directory / file, file)

    found = HandlerCode(handler, directory).load()

    assert loaded(found)(None, None) == file


def test_relative_directory_is_found(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(directory / "gw_app.py", 1)
    monkeypatch.chdir(directory.parent)

    found = HandlerCode("gw_app.handler", Path("code")).load()

    assert loaded(found)(None, None) == 1


def test_code_directory_is_first_on_the_path(directory: Path) -> None:
    write(directory / "gw_app.py", "ours")
    write(directory.parent / "other" / "gw_app.py", "other")
    sys.path[:0] = [str(directory.parent / "other"), str(directory)]

    found = HandlerCode("gw_app.handler", directory).load()

    assert loaded(found)(None, None) == "ours"
    assert sys.path.count(str(directory)) == 1


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [
        ("gw_app", "Runtime.MalformedHandlerName"),
        ("gw_none.handler", "Runtime.ImportModuleError"),
        ("gw_app.none", "Runtime.HandlerNotFound"),
        ("gw_syntax.handler", "Runtime.UserCodeSyntaxError"),
        ("gw_raises.handler", "ZeroDivisionError"),
        ("gw_exits.handler", "Runtime.ExitError"),
    ],
)
def test_handler_that_cannot_be_loaded_is_a_value(
    handler: str, error_type: str, directory: Path
) -> None:
    write(directory / "gw_app.py", 1)
    (directory / "gw_syntax.py").write_text("def handler(:")
    (directory / "gw_raises.py").write_text("1 / 0")
    (directory / "gw_exits.py").write_text("raise SystemExit(3)")

    found = HandlerCode(handler, directory).load()

    assert isinstance(found, InitError)
    assert found.error_type == error_type


@pytest.mark.parametrize("handler", ["gateway.handler", "gateway.app.handler", "gateway/app.run"])
def test_module_called_like_this_package_is_refused(handler: str, directory: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"the module 'gateway.*rename your file"):
        HandlerCode(handler, directory)


@pytest.mark.parametrize("handler", ["gateways.handler", "my_gateway.handler", "gateway"])
def test_module_called_almost_like_this_package_is_taken(handler: str, directory: Path) -> None:
    assert HandlerCode(handler, directory).handler == handler


@pytest.mark.parametrize("name", ["missing", "file", "loop", "x" * 300])
def test_directory_that_cannot_be_read_is_an_invalid_setting(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(InvalidSetting, match=f"^--code .*{name} cannot be read: "):
        HandlerCode("gw_app.handler", tmp_path / name)


# After a save


def test_saved_code_is_loaded_afresh(directory: Path) -> None:
    write(directory / "gw_app.py", "old")
    code = HandlerCode("gw_app.handler", directory)
    old = loaded(code.load())
    write(directory / "gw_app.py", "new one")

    new = loaded(code.reload())

    assert (old(None, None), new(None, None)) == ("old", "new one")


def test_save_of_the_same_size_in_the_same_second_is_seen(directory: Path) -> None:
    """Python takes bytecode for current when size and second of the source agree."""
    file = directory / "gw_app.py"
    write(file, "old")
    utime(file, (1_700_000_000, 1_700_000_000))
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    write(file, "new")
    utime(file, (1_700_000_000, 1_700_000_000))

    assert loaded(code.reload())(None, None) == "new"


def test_such_a_save_is_seen_where_the_import_before_it_failed(directory: Path) -> None:
    file = directory / "gw_app.py"
    code = HandlerCode("gw_app.handler", directory)
    errors = []
    for word in ("one", "two"):
        file.write_text(f"raise ValueError('{word}')\n")
        utime(file, (1_700_000_000, 1_700_000_000))
        errors.append(code.reload())

    messages = [error.message for error in errors if isinstance(error, InitError)]
    assert messages == ["one", "two"]


def test_fixed_code_is_loaded(directory: Path) -> None:
    (directory / "gw_app.py").write_text("def handler(:")
    code = HandlerCode("gw_app.handler", directory)
    broken = code.load()
    write(directory / "gw_app.py", "fixed")

    assert isinstance(broken, InitError)
    assert loaded(code.reload())(None, None) == "fixed"


def test_reloads_of_a_save_and_of_an_invocation_come_one_after_the_other(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = ModuleType("gw_gate")
    begun, passes = threading.Semaphore(0), threading.Semaphore(0)
    vars(gate).update(begun=begun, passes=passes)
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    (directory / "gw_prices.py").write_text(
        "import gw_gate\ngw_gate.begun.release()\ngw_gate.passes.acquire(timeout=10)\n"
    )
    (directory / "gw_app.py").write_text("import gw_prices\nhandler = print\n")
    code = HandlerCode("gw_app.handler", directory)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(code.reload)
        begun.acquire(timeout=10)
        second = threads.submit(code.reload)
        is_early = begun.acquire(timeout=0.2)
        passes.release(2)

    assert not is_early
    assert loaded(first.result()) is loaded(second.result()) is print


def test_module_that_the_handler_imports_is_loaded_afresh(directory: Path) -> None:
    (directory / "gw_app.py").write_text("from gw_pkg.part import handler")
    (directory / "gw_pkg").mkdir()
    (directory / "gw_pkg" / "__init__.py").write_text("")
    write(directory / "gw_pkg" / "part.py", "old")
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    write(directory / "gw_pkg" / "part.py", "new one")

    assert loaded(code.reload())(None, None) == "new one"


def test_module_behind_a_link_out_of_the_code_is_loaded_afresh(
    directory: Path, tmp_path: Path
) -> None:
    write(tmp_path / "shared" / "gw_part.py", "old")
    (directory / "gw_part.py").symlink_to("../shared/gw_part.py")
    (directory / "gw_app.py").write_text("from gw_part import handler")
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    write(tmp_path / "shared" / "gw_part.py", "new one")

    assert loaded(code.reload())(None, None) == "new one"


def test_modules_come_back_when_the_fresh_ones_cannot_be_loaded(directory: Path) -> None:
    (directory / "gw_app.py").write_text("import gw_part\ndef handler(e, c): return gw_part")
    (directory / "gw_part.py").write_text("")
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    before = {name: module for name, module in sys.modules.items() if name.startswith("gw_")}
    (directory / "gw_app.py").write_text("import gw_part, gw_new, gw_no_such_module")
    (directory / "gw_new.py").write_text("")

    failed = code.reload()

    assert isinstance(failed, InitError)
    assert before.keys() == {"gw_app", "gw_part"}
    after = {name: module for name, module in sys.modules.items() if name.startswith("gw_")}
    assert after == before


def test_modules_of_layers_are_loaded_afresh(directory: Path, tmp_path: Path) -> None:
    part = tmp_path / "layer" / "python" / "gw_part.py"
    write(part, "old")
    (directory / "gw_app.py").write_text("from gw_part import handler")
    code = HandlerCode("gw_app.handler", directory, [tmp_path / "layer"])
    code.load()
    write(part, "new one")

    assert loaded(code.reload())(None, None) == "new one"


def test_packages_with_native_modules_stay(directory: Path) -> None:
    write(directory / "gw_app.py", 1)
    (directory / "gw_native").mkdir()
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    for name, file in (("gw_native", "__init__.py"), ("gw_native.core", "core.abi3.so")):
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(directory / "gw_native" / file)

    app = sys.modules["gw_app"]
    kept = {name: sys.modules[name] for name in ("gw_native", "gw_native.core")}
    code.reload()

    assert {name: sys.modules[name] for name in kept} == kept
    assert sys.modules["gw_app"] is not app


def test_nested_namespace_packages_are_loaded_afresh(directory: Path) -> None:
    """Such a package looks its parent up in sys.modules whenever it is asked for its path."""
    write(directory / "gw_space" / "inner" / "part.py", "old")
    code = HandlerCode("gw_space.inner.part.handler", directory)
    code.load()
    write(directory / "gw_space" / "inner" / "part.py", "new one")

    assert loaded(code.reload())(None, None) == "new one"


def test_modules_of_the_code_directory_leave(directory: Path) -> None:
    write(directory / "gw_app.py", 1)
    write(directory / "gw_space" / "part.py", 1)
    write(directory / "gw_pkg" / "__init__.py", 1)
    code = HandlerCode("gw_app.handler", directory)
    for handler in ("gw_app.handler", "gw_space.part.handler", "gw_pkg.handler"):
        HandlerCode(handler, directory).load()
    names = {name for name in sys.modules if name.startswith("gw_")}

    code.reload()

    assert names == {"gw_app", "gw_space", "gw_space.part", "gw_pkg"}
    assert {name for name in sys.modules if name.startswith("gw_")} == {"gw_app"}


class Lazy(ModuleType):
    """A module of a kind that some packages put into sys.modules: asking it runs code."""

    __file__ = "gw_lazy.py"  # type: ignore[assignment] # and relative at that

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


def test_other_modules_stay(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = directory / ".venv" / "lib" / "site-packages"
    write(site / "gw_installed.py", 1)
    write(directory.parent / "code2" / "gw_beside.py", 1)
    write(directory / "gw_app.py", 1)
    sys.path[:0] = [str(site), str(directory.parent / "code2")]
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    for handler in ("gw_installed.handler", "gw_beside.handler"):
        loaded(HandlerCode(handler, directory).load())
    main = ModuleType("__main__")
    main.__file__ = str(directory / ".venv" / "bin" / "gateway")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setitem(sys.modules, "gw_lazy", Lazy("gw_lazy"))
    monkeypatch.chdir(directory)
    before = dict(sys.modules)

    code.reload()

    assert {name for name in before if sys.modules.get(name) is not before[name]} == {"gw_app"}


def test_this_package_and_the_standard_library_stay_in_whatever_directory_they_are() -> None:
    code = HandlerCode("json.dumps", Path("/"))
    code.load()
    ours = {name for name in sys.modules if name.startswith(("gateway", "json", "asyncio"))}

    leaving = set(code._loaded_modules())

    assert not leaving & ours


def test_installed_package_can_be_the_code_directory(tmp_path: Path) -> None:
    directory = tmp_path / "site-packages" / "shop"
    write(directory / "gw_app.py", "old")
    code = HandlerCode("gw_app.handler", directory)
    code.load()
    write(directory / "gw_app.py", "new one")

    assert loaded(code.reload())(None, None) == "new one"


@pytest.mark.parametrize("file", ["queue.py", "email/__init__.py", "click.py", "time.py"])
def test_file_that_a_loaded_module_hides_is_refused(file: str, directory: Path) -> None:
    write(directory / file, 1)
    name = Path(file).parts[0].removesuffix(".py")

    with pytest.raises(InvalidSetting) as caught:
        HandlerCode(f"{name}.handler", directory)

    assert str(caught.value) == (
        f"in this process {name!r} is a module that the gateway has loaded, and not the one in "
        f"{directory}; rename it, or serve it without --in-process"
    )


def test_modules_that_the_gateway_has_loaded_are_shared_and_said(directory: Path) -> None:
    for file in ("gw_app.py", "click.py", "queue.py", "orjson/__init__.py", "gw_other.py"):
        write(directory / file, 1)
    (directory / "email").mkdir()
    (directory / "json.txt").touch()
    layer = directory.parent / "layer"
    write(layer / "python/httptools/__init__.py", 1)
    import httptools  # noqa: F401, PLC0415 - as a gateway has

    found = HandlerCode("gw_app.handler", directory, [layer])

    assert found.shared_modules() == ["click", "httptools", "orjson", "queue"]


def test_code_and_layers_come_before_what_is_installed(directory: Path) -> None:
    base, extra = directory.parent / "base", directory.parent / "extra"
    versioned = f"python/lib/python3.{sys.version_info.minor}/site-packages"
    for layer, answer in ((base, "base"), (extra, "extra")):
        write(layer / "python/gw_layered.py", answer)
    write(base / versioned / "mangum/__init__.py", "its own")
    write(directory / "gw_app.py", 1)

    HandlerCode("gw_app.handler", directory, [base, extra]).load()
    import gw_layered  # noqa: PLC0415
    import mangum  # noqa: PLC0415

    assert gw_layered.handler(None, None) == "extra"  # later ones win
    assert mangum.__file__ == str(base / versioned / "mangum/__init__.py")
    assert sys.path[:3] == [str(directory), str(extra / versioned), str(base / versioned)]

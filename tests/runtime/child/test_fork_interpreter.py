"""What a forked interpreter has of a fresh one; the rest of it is looked at in forked children."""

from pathlib import Path

from gateway.runtime import child
from gateway.runtime.child.fork_interpreter import main_module

MAIN = str(Path(child.__file__).with_name("__main__.py"))


def test_the_main_module_is_executed_without_what_it_does_as_that_one(tmp_path: Path) -> None:
    file = tmp_path / "main.py"
    file.write_text("import sys\nran = __name__\n")

    module = main_module(str(file))

    assert module.ran == "awslambdaric.__main__"
    assert (module.__name__, module.__spec__, module.__file__) == ("__main__", None, str(file))

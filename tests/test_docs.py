"""The README's code runs, and every option, attribute and limit is in the documentation."""

import importlib
import re
from pathlib import Path

import click
import pytest

from gateway.cli import group
from gateway.core.attributes import names
from gateway.testing import client

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
LIMIT_PATH = re.compile(r"`(gateway(?:\.[a-z_]+)+)\.([A-Z_]+)`")


def python_blocks() -> list[str]:
    return PYTHON_BLOCK.findall(README)


def test_readme_client_block_runs() -> None:
    block = next(block for block in python_blocks() if "gateway.testing" in block)

    exec(compile(block, "README.md", "exec"), {})


def test_readme_handler_answers_as_printed() -> None:
    names_in_block: dict[str, object] = {}
    exec(compile(python_blocks()[0], "README.md", "exec"), names_in_block)
    with client(names_in_block["handler"]) as web:  # type: ignore[arg-type]
        response = web.get("/any/path?x=1&x=2")

    printed = README.partition("$ curl -i")[2].partition("```")[0]
    body = printed.partition("\n\n")[2]
    assert response.text == body
    assert f"content-length: {response.headers['content-length']}" in printed


def test_every_command_is_in_the_readme() -> None:
    for name in group.commands:
        assert f"`gateway {name}" in README


@pytest.mark.parametrize("command", group.commands.values(), ids=lambda command: command.name)
def test_every_option_has_help_or_an_obvious_default(command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.show_default, option.name


def test_every_attribute_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/attributes.md").read_text()

    for name in names():
        assert f"`{name}`" in reference


def test_every_documented_limit_exists() -> None:
    found = LIMIT_PATH.findall((ROOT / "docs/behaviour/fronts.md").read_text())
    assert len(found) >= 8
    for module, constant in found:
        assert hasattr(importlib.import_module(module), constant), f"{module}.{constant}"


def test_documents_link_only_to_files_that_exist() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"

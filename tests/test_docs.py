"""The README's code runs, and the documentation has every option, attribute, limit, desync rule and
error as the code has it."""

import pkgutil
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from gateway.cli import group
from gateway.config.variables import CREDENTIALS
from gateway.core import desync_rules
from gateway.core.attributes import names
from gateway.core.desync import Mode
from gateway.core.desync_rules import DesyncRule
from gateway.core.errors import GatewayError
from gateway.core.limits import ATTRIBUTES, Limits, limit_names
from gateway.core.outcomes import OUTCOMES
from gateway.testing import client

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SYMBOL = re.compile(r"`(gateway(?:\.\w+)+)`")
CONSTANT = re.compile(r"`(gateway(?:\.\w+)+\.[A-Z_]+)`")
TEST = re.compile(r"`(tests/[\w./-]+)(?:::(\w+))?`")
LIMIT = re.compile(
    r"^([A-Z_]+_(?:LIMIT|SECONDS)|OUTPUT_BYTES|PROCESSES|CONNECTIONS) = ", re.MULTILINE
)
ERROR_TYPE = re.compile(r'"((?:Runtime|Function|Sandbox)\.[A-Z]\w+)"')
LIMITING = [f"gateway.runtime.{name}" for name in ("blueprint", "pool", "api", "output")]
ENVIRONMENT_OPTIONS = (
    "in-process",
    "concurrency",
    "queue-timeout",
    "min-environments",
    "idle-environment",
    "layer",
    "ephemeral-storage",
    "runtime",
    "python",
    "runtime-client",
    "function-logs",
)
NUMBER = re.compile(r"[\d,.]*\d")

PLAIN = ("gateway", "tests", "benchmarks", "examples", "tools", "docs")
# Each phrase has a ~ inside, or this list would find itself.
BANNED = (
    r"w~hoever|w~homever|w~hom?(?<!users w~ho)(?<!operators w~ho)(?<!developers w~ho)",
    r"no~body|some~body|every~body|any~body",
    r"at ha~nd|for ev~er|in va~in|to bla~me|for so lo~ng|so ma~ny|so mu~ch(?! as)|(?<!look )ali~ke",
    r"me~nd(?:s|ed|ing)?|look(?:s|ed)? ov~er|gives? wa~y|ho~gs?|(?<!is )hoa~rd\w*|obit~uary",
    r"an~ew|good~bye|at a stre~tch|take no~te|on the sp~ot|(?:says?|tells?) w~hose",
    r"sta~nds?(?! for\b| in for\b|-in\b)",
    r"(?:is|are|was|were|be) (?-i:no~ne)",
    r"(?<!there )(?:is|are|was|were) no~ (?!longer|more|less|fewer)[a-z]+",
)
BANNED_PHRASE = re.compile(rf"(?i)\b(?:{'|'.join(BANNED)})\b".replace("~", ""))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def rows(page: str) -> list[list[str]]:
    """Return the cells of every table row of a page."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    tables = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in tables]


def shown(number: float) -> str:
    """Return a number as the documentation writes it."""
    return f"{number:,}".removesuffix(".0")


def python_blocks() -> list[str]:
    return PYTHON_BLOCK.findall(README)


def test_readme_client_block_runs() -> None:
    block = next(block for block in python_blocks() if "gateway.testing" in block)

    exec(compile(block, "README.md", "exec"), {})

    assert "assert " in block  # it checks itself


def test_readme_handler_answers_as_printed() -> None:
    names_in_block: dict[str, object] = {}
    exec(compile(python_blocks()[0], "README.md", "exec"), names_in_block)
    with client(names_in_block["handler"]) as web:  # type: ignore[arg-type]
        response = web.get("/any/path?x=1&x=2")

    printed = README.partition("$ curl -i")[2].partition("```")[0]
    body = printed.partition("\n\n")[2]
    assert response.text == body
    assert f"content-length: {response.headers['content-length']}" in printed.lower()


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


def test_every_limit_is_documented_with_its_default() -> None:
    documented = {row[0]: row for row in rows("behaviour/limits.md")}

    for field in fields(Limits):
        row = documented[f"`{field.name}`"]
        assert row[1] == shown(field.default), field.name
        assert ATTRIBUTES.get(field.name, "--limit") in row[-1], field.name
    assert {field.name for field in fields(Limits)} == {*limit_names(), *ATTRIBUTES}


def test_every_documented_constant_has_its_value() -> None:
    found = [row for row in rows("behaviour/limits.md") if CONSTANT.fullmatch(row[-1])]
    assert len(found) >= 40
    for row in found:
        value = pkgutil.resolve_name(row[-1].strip("`"))
        assert shown(value) in NUMBER.findall(row[1]), row[-1]


@pytest.mark.parametrize("module", LIMITING)
def test_every_limit_of_environments_is_documented(module: str) -> None:
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    constants = {f"`{module}.{name}`" for name in LIMIT.findall(source)}

    assert constants
    assert constants <= {row[-1] for row in rows("behaviour/limits.md")}


def test_every_option_of_environments_is_in_the_readme() -> None:
    for name in ENVIRONMENT_OPTIONS:
        assert any(f"--{name}" in option.opts for option in group.commands["serve"].params), name
        assert re.search(rf"^\| `--{name}[` ]", README, re.MULTILINE), name


def test_every_error_and_credential_of_environments_is_documented() -> None:
    page = (ROOT / "docs/behaviour/environments.md").read_text()
    source = (ROOT / "gateway/core/function_errors.py").read_text()
    kinds = set(ERROR_TYPE.findall(source))

    assert len(kinds) >= 5
    assert all(f"`{kind}`" in page for kind in kinds)
    assert all(f"`{key}`" in page for key in CREDENTIALS)


def test_every_desync_rule_is_documented() -> None:
    rules = [rule for rule in vars(desync_rules).values() if isinstance(rule, DesyncRule)]
    reasons = {f"`{rule.reason}`" for rule in rules} | {"-"}
    documented = [row for row in rows("behaviour/desync.md") if row[1] in reasons]

    assert documented == [
        [rule.tier, f"`{rule.reason}`" if rule.reason else "-", rule.words, str(rule.status or "-")]
        for rule in rules
    ]


def test_every_desync_mode_is_documented() -> None:
    page = (ROOT / "docs/behaviour/desync.md").read_text()

    assert all(f"`{mode}`" in page for mode in Mode)


def section(command: click.Command) -> str:
    """Return what the reference says about a command."""
    heading = "## gateway" if command is group else f"## gateway {command.name}"
    page = (ROOT / "docs/reference/cli.md").read_text()
    return page.partition(f"{heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    "command", [group, *group.commands.values()], ids=lambda command: command.name
)
def test_every_option_is_in_the_reference(command: click.Command) -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", section(command), re.MULTILINE)
    words = {word for names in listed for word in names.replace(",", " ").split()}

    for option in command.params:
        if isinstance(option, click.Option):
            assert words.issuperset(option.opts)


def errors(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from errors(child)


def test_every_error_is_in_the_reference() -> None:
    documented = {row[0]: row for row in rows("reference/errors.md")}

    for kind in errors(GatewayError):
        if kind.__module__.startswith("gateway."):
            status, reason = OUTCOMES[kind]
            row = documented[f"`{kind.__name__}`"]
            assert row[2:4] == [str(status), f"`{reason}`" if reason else ""]


def test_reference_is_what_make_docs_writes() -> None:
    for path, text in runpy.run_path(str(ROOT / "tools/docs"))["pages"]().items():
        assert path.read_text() == text, f"{name_of(path)}: run make docs"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_symbols_and_tests_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()

    for name in SYMBOL.findall(text):
        pkgutil.resolve_name(name)
    for path, function in TEST.findall(text):
        assert (ROOT / path).exists(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(), function


def test_documents_link_only_to_files_that_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def plain_texts() -> Iterator[Path]:
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    for directory in PLAIN:
        for path in (ROOT / directory).rglob("*"):
            if path.suffix in {".py", ".md"} or (path.parent.name == "tools" and path.is_file()):
                yield path


@pytest.mark.parametrize(
    ("text", "is_banned"),
    [
        ("raises for what is no~ URL", True),
        ("there is no handler", False),
        ("None where there is no~ne", True),
        ("if handler is None", False),
        ("def test_of_no~body", True),
        ("for users w~ho read it", False),
        ("ask w~ho waits", True),
        ("a double that stands in for it", False),
    ],
)
def test_banned_phrases_are_found(text: str, is_banned: bool) -> None:
    assert bool(banned(text.replace("~", ""))) == is_banned


def banned(text: str) -> list[str]:
    """Return the lines with a banned phrase; words of a name count like words of a sentence."""
    lines = enumerate(text.replace("_", " ").splitlines(), 1)
    return [f"{number}: {line.strip()}" for number, line in lines if BANNED_PHRASE.search(line)]


def test_texts_and_names_are_plain_english() -> None:
    found = {name_of(path): banned(path.read_text()) for path in plain_texts()}

    assert {name: lines for name, lines in found.items() if lines} == {}

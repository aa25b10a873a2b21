"""The command as a whole: help, version, and refusals of one line."""

import re

import click
import pytest

from gateway import __version__
from gateway.cli import group
from tests.cli.commands import option_names, refusal, run, run_process

SERVE_OPTIONS = """
--runtime --python --runtime-client --layer --ephemeral-storage --queue-timeout --min-environments
--idle-environment --function-logs
--code --host --port --multi-value-headers --timeout --memory-size --env --env-file --concurrency
--threads --in-process --reload --faithful --function-name --region --account-id
--target-group-arn --attribute --as --access-log --log-format --quiet
"""


@pytest.mark.parametrize("command", group.commands.values(), ids=lambda command: command.name)
def test_help_explains_every_option(command: click.Command) -> None:
    assert command.name
    result = run(command.name, "--help")

    assert result.exit_code == 0
    for name in option_names(command):
        assert re.search(rf"{name}[ ,\n]", result.output)
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help


def test_serve_has_the_options_of_the_promise() -> None:
    assert set(SERVE_OPTIONS.split()) <= set(option_names(group.commands["serve"]))


def test_help_says_where_the_handler_runs() -> None:
    words = " ".join(run("serve", "--help").output.split())

    assert "runs in execution environments: processes of its own" in words
    assert "Run the handler in this process: faster, easy to debug, not isolated." in words


def test_list_of_commands_has_whole_sentences() -> None:
    output = run("--help").output

    for command in group.commands.values():
        assert command.short_help
        assert f"{command.name:<7} {command.short_help}" in output
    assert "..." not in output.partition("Commands:")[2]


def test_no_command_gets_the_help_and_status_2() -> None:
    result = run()

    assert result.exit_code == 2
    assert result.output.startswith("Usage: gateway ")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_is_told(option: str) -> None:
    result = run(option)

    assert (result.exit_code, result.output) == (0, f"gateway, version {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "no such command 'nope'"),
        (["--nope"], "no such option '--nope'"),
        (
            ["serve"],
            "missing argument 'HANDLER'; or give --rie URL or --function NAME "
            "(see gateway serve --help)",
        ),
        (["serve", "a.b", "c"], "got unexpected extra argument (c) (see gateway serve --help)"),
        (["serve", "a.b", "--nope"], "no such option '--nope'"),
        (["serve", "a.b", "--port"], "option '--port' requires an argument (see gateway serve"),
        (["serve", "a.b", "--port", "x"], "invalid value for '--port': 'x' is not a valid"),
        (["serve", "a.b", "--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        (["health", "--port", "0"], "0 is not in the range 1<=x<=65535 (see gateway health"),
    ],
)
def test_refusal_is_one_line(arguments: list[str], line: str) -> None:
    said = refusal(run(*arguments))

    assert line in said
    assert "--help)" in said


@pytest.mark.slow
def test_module_runs_as_a_program() -> None:
    status, output, errors = run_process("serve", "--port", "x", "a.b")

    assert (status, output) == (2, [])
    assert errors == [
        "gateway: invalid value for '--port': 'x' is not a valid integer range "
        "(see gateway serve --help)"
    ]

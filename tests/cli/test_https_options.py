"""The options of an HTTPS listener as one setting."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from gateway.cli.https_options import https_options
from gateway.config.https import Https
from gateway.core.tls_policies import DEFAULT

POLICY = "ELBSecurityPolicy-TLS13-1-3-2021-06"


@click.command()
@https_options
@click.option("--other", default="kept")
def shown(**options: Any) -> None:
    click.echo(repr(options))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], None),
        (["--https"], Https((), DEFAULT)),
        (
            ["--certificate", "a.pem,a.key", "--ssl-policy", POLICY],
            Https(((Path("a.pem"), Path("a.key")),), POLICY),
        ),
        (
            ["--https", "--mutual-authentication", "verify", "--trust-store", "ca.pem"],
            Https((), DEFAULT, Path("ca.pem")),
        ),
    ],
)
def test_a_command_receives_one_setting(arguments: list[str], expected: Https | None) -> None:
    done = CliRunner().invoke(shown, arguments)

    assert done.exit_code == 0, done.output
    assert done.output == repr({"https": expected, "other": "kept"}) + "\n"

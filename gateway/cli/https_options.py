"""Options of an HTTPS listener, and how they become its settings."""

import functools
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import Command, with_options
from gateway.config.https import https
from gateway.core.tls_policies import DEFAULT

HTTPS_OPTIONS = (
    click.option(
        "--https",
        "is_https",
        is_flag=True,
        help="Speak HTTPS, HTTP/2 and HTTP/1.1, with a generated certificate unless "
        "--certificate names one.",
    ),
    click.option(
        "--certificate",
        "certificates",
        multiple=True,
        metavar="CHAIN[,KEY]",
        help="PEM files of a certificate chain and its private key; the first is the default, "
        "further ones are chosen by the name a client asks for (SNI).  They are read again when "
        "they change.",
    ),
    click.option(
        "--ssl-policy",
        metavar="NAME",
        help=f"ALB's security policy: protocols and ciphers.  [default: {DEFAULT}]",
    ),
    click.option(
        "--mutual-authentication",
        type=click.Choice(["off", "verify", "passthrough"]),
        default="off",
        show_default=True,
        help="verify asks every client for a certificate that leads to the trust store; "
        "passthrough is not available.",
    ),
    click.option(
        "--trust-store",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="PEM file of the CA certificates for --mutual-authentication verify.",
    ),
    click.option(
        "--ignore-client-certificate-expiry",
        "ignores_expiry",
        is_flag=True,
        help="Take client certificates that have expired.",
    ),
)


def https_options(command: Command) -> Command:
    """Add the options of an HTTPS listener; the command receives an Https, or None, as `https`."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        own = {name: options.pop(name) for name in OWN}
        return command(https=https(**own), **options)

    return with_options(wrapped, HTTPS_OPTIONS)


OWN = (
    "is_https",
    "certificates",
    "ssl_policy",
    "mutual_authentication",
    "trust_store",
    "ignores_expiry",
)
"""The parameters that these options fill."""

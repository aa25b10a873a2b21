"""How a listener speaks HTTPS, under the names of AWS's CreateListener."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.core.errors import InvalidSetting
from gateway.core.tls_policies import DEFAULT

NO_PASSTHROUGH = (
    "mutual authentication passthrough is not available: Python cannot take a certificate that it "
    "has not verified; take verify"
)
"""With CERT_OPTIONAL OpenSSL ends the handshake for a certificate that cannot be verified, and
Python has no way to say otherwise."""


@dataclass(frozen=True, slots=True)
class Https:
    """The settings of an HTTPS listener."""

    certificates: tuple[tuple[Path, Path], ...] = ()
    """Files of certificate chain and private key, the default one first; empty: one is made."""
    ssl_policy: str = DEFAULT
    trust_store: Path | None = None
    """With mutual TLS: the file of CA certificates that a client's certificate must lead to."""
    ignores_client_certificate_expiry: bool = False


def https(  # noqa: PLR0913 - one per option
    *,
    is_https: bool,
    certificates: tuple[str, ...],
    ssl_policy: str | None,
    mutual_authentication: Literal["off", "verify", "passthrough"],
    trust_store: Path | None,
    ignores_expiry: bool,
) -> Https | None:
    """Return the settings, None for plain HTTP; raises InvalidSetting where they contradict each
    other."""
    asked = is_https or bool(certificates)
    if not asked and (ssl_policy or trust_store or mutual_authentication != "off"):
        raise InvalidSetting("TLS settings need --https or --certificate")
    if mutual_authentication == "passthrough":
        raise InvalidSetting(NO_PASSTHROUGH)
    if (mutual_authentication == "verify") != (trust_store is not None):
        raise InvalidSetting("--mutual-authentication verify and --trust-store need each other")
    if ignores_expiry and trust_store is None:
        raise InvalidSetting("--ignore-client-certificate-expiry needs --trust-store")
    if not asked:
        return None
    pairs = tuple(map(certificate_files, certificates))
    return Https(pairs, ssl_policy or DEFAULT, trust_store, ignores_expiry)


def certificate_files(text: str) -> tuple[Path, Path]:
    """Return the files of `CHAIN,KEY`; one file may hold both."""
    chain, _, key = text.partition(",")
    return Path(chain), Path(key or chain)

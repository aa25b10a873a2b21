"""ALB's security policies as OpenSSL needs them: protocol versions, and ciphers in AWS's order.

From alb.md 4.8 and the Elastic Load Balancing guide, "Security policies for your Application Load
Balancer". TLS 1.3 has the same three suites in every policy that has it; only what comes before
TLS 1.3 differs. A policy that cannot be kept is refused and never replaced by a similar one.
"""

from dataclasses import dataclass

from gateway.core.errors import InvalidSetting

PREFIX = "ELBSecurityPolicy-"

DEFAULT = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
"""The console's default without its post-quantum part (alb.md 4.1). The API's default, `2016-08`,
speaks TLS 1.0 and has ciphers without forward secrecy: not for a server that strangers reach."""

_GCM_128 = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
_CBC_128 = ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256")
_SHA_128 = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA")
_GCM_256 = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384")
_CBC_256 = ("ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384")
_SHA_256 = ("ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA")

_RESTRICTED = _GCM_128 + _GCM_256
_FORWARD_SECRET = _GCM_128 + _CBC_128 + _GCM_256 + _CBC_256
_FORWARD_SECRET_SHA = _GCM_128 + _CBC_128 + _SHA_128 + _GCM_256 + _CBC_256 + _SHA_256
_EXTENDED_1 = (
    *_FORWARD_SECRET,
    *("AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"),
)
_EXTENDED_2 = (
    *_FORWARD_SECRET_SHA,
    *("AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA"),
    *("AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA"),
)


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """The protocols and ciphers that a listener accepts."""

    name: str
    """AWS's full name."""
    minimum: str
    """The oldest protocol, in OpenSSL's spelling: `TLSv1` to `TLSv1.3`."""
    maximum: str
    """The newest."""
    ciphers: tuple[str, ...]
    """OpenSSL names for TLS 1.2 and older, the preferred first; those of TLS 1.3 are fixed."""

    @property
    def is_legacy(self) -> bool:
        """Say whether it accepts TLS 1.0 or 1.1, which RFC 8996 forbids."""
        return self.minimum in {"TLSv1", "TLSv1.1"}


_ROWS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "TLS13-1-3-2021-06": ("TLSv1.3", "TLSv1.3", ()),
    "TLS13-1-2-Res-2021-06": ("TLSv1.2", "TLSv1.3", _RESTRICTED),
    "TLS13-1-2-2021-06": ("TLSv1.2", "TLSv1.3", _FORWARD_SECRET),
    "TLS13-1-2-Ext1-2021-06": ("TLSv1.2", "TLSv1.3", _EXTENDED_1),
    "TLS13-1-2-Ext2-2021-06": ("TLSv1.2", "TLSv1.3", _EXTENDED_2),
    "TLS13-1-1-2021-06": ("TLSv1.1", "TLSv1.3", _EXTENDED_2),
    "TLS13-1-0-2021-06": ("TLSv1", "TLSv1.3", _EXTENDED_2),
    "2016-08": ("TLSv1", "TLSv1.2", _EXTENDED_2),
    "TLS-1-2-2017-01": ("TLSv1.2", "TLSv1.2", _EXTENDED_1),
    "TLS-1-2-Ext-2018-06": ("TLSv1.2", "TLSv1.2", _EXTENDED_2),
    "TLS-1-1-2017-01": ("TLSv1.1", "TLSv1.2", _EXTENDED_2),
    "FS-2018-06": ("TLSv1", "TLSv1.2", _FORWARD_SECRET_SHA),
    "FS-1-1-2019-08": ("TLSv1.1", "TLSv1.2", _FORWARD_SECRET_SHA),
    "FS-1-2-2019-08": ("TLSv1.2", "TLSv1.2", _FORWARD_SECRET_SHA),
    "FS-1-2-Res-2019-08": ("TLSv1.2", "TLSv1.2", _FORWARD_SECRET),
    "FS-1-2-Res-2020-10": ("TLSv1.2", "TLSv1.2", _RESTRICTED),
}

POLICIES = {f"{PREFIX}{name}": SecurityPolicy(f"{PREFIX}{name}", *_ROWS[name]) for name in _ROWS}
"""Every policy that can be had, by its full name."""

UNAVAILABLE = {
    "PQ": "hybrid post-quantum key exchange cannot be demanded through Python",
    "FIPS": "it needs a FIPS module, and Python cannot say that OpenSSL has one",
}
"""Why names with these words are not available."""


def security_policy(name: str) -> SecurityPolicy:
    """Return a policy by its full AWS name (alb.md 4.8); raises InvalidSetting."""
    if name in POLICIES:
        return POLICIES[name]
    if name == f"{PREFIX}TLS-1-0-2015-04":
        raise InvalidSetting(
            f"security policy {name} is not available: it has DES-CBC3-SHA, which OpenSSL has "
            f"given up; take {PREFIX}2016-08 (the same without it), better {DEFAULT}"
        )
    words = name.removeprefix(PREFIX).split("-")
    for word, reason in UNAVAILABLE.items():
        if name.startswith(PREFIX) and word in words:
            raise InvalidSetting(
                f"security policy {name} is not available: {reason}; take {_relative(words)}"
            )
    raise InvalidSetting(f"unknown security policy {name!r}; known are: {', '.join(POLICIES)}")


def _relative(words: list[str]) -> str:
    """Return the policy that has the same protocols and ciphers, or the default."""
    kept = [word for word in words[:-2] if word not in UNAVAILABLE]
    name = "-".join([PREFIX.removesuffix("-"), *kept, "2021-06"])
    return name if name in POLICIES else DEFAULT

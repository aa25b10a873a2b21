"""Which security policies there are, what they allow, and what is said about the others."""

from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.tls_policies import DEFAULT, POLICIES, PREFIX, security_policy

PAGE = Path(__file__).parents[2] / "docs/behaviour/https.md"
ORDER = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize(
    ("name", "minimum", "maximum", "count"),
    [
        ("TLS13-1-3-2021-06", "TLSv1.3", "TLSv1.3", 0),
        ("TLS13-1-2-Res-2021-06", "TLSv1.2", "TLSv1.3", 4),
        ("TLS13-1-2-2021-06", "TLSv1.2", "TLSv1.3", 8),
        ("TLS13-1-2-Ext1-2021-06", "TLSv1.2", "TLSv1.3", 12),
        ("TLS13-1-2-Ext2-2021-06", "TLSv1.2", "TLSv1.3", 18),
        ("TLS13-1-1-2021-06", "TLSv1.1", "TLSv1.3", 18),
        ("TLS13-1-0-2021-06", "TLSv1", "TLSv1.3", 18),
        ("2016-08", "TLSv1", "TLSv1.2", 18),
        ("TLS-1-2-2017-01", "TLSv1.2", "TLSv1.2", 12),
        ("TLS-1-2-Ext-2018-06", "TLSv1.2", "TLSv1.2", 18),
        ("TLS-1-1-2017-01", "TLSv1.1", "TLSv1.2", 18),
        ("FS-2018-06", "TLSv1", "TLSv1.2", 12),
        ("FS-1-1-2019-08", "TLSv1.1", "TLSv1.2", 12),
        ("FS-1-2-2019-08", "TLSv1.2", "TLSv1.2", 12),
        ("FS-1-2-Res-2019-08", "TLSv1.2", "TLSv1.2", 8),
        ("FS-1-2-Res-2020-10", "TLSv1.2", "TLSv1.2", 4),
    ],
)
def test_policy_has_aws_protocols_and_ciphers(
    name: str, minimum: str, maximum: str, count: int
) -> None:
    policy = security_policy(PREFIX + name)

    assert (policy.name, policy.minimum, policy.maximum) == (PREFIX + name, minimum, maximum)
    assert len(policy.ciphers) == len(set(policy.ciphers)) == count
    assert policy.is_legacy is (minimum in ORDER[:2])


def test_every_policy_is_tested_above() -> None:
    (mark,) = test_policy_has_aws_protocols_and_ciphers.pytestmark  # type: ignore[attr-defined]

    assert {PREFIX + case[0] for case in mark.args[1]} == POLICIES.keys()


def test_forward_secret_policies_have_no_other_cipher() -> None:
    for name, policy in POLICIES.items():
        if "-FS-" in name or name.endswith(("Res-2021-06", "TLS13-1-2-2021-06")):
            assert all(cipher.startswith("ECDHE-") for cipher in policy.ciphers), name


def test_default_is_safe_for_strangers() -> None:
    policy = security_policy(DEFAULT)

    assert not policy.is_legacy
    assert all("ECDHE" in cipher and "GCM" in cipher for cipher in policy.ciphers)


@pytest.mark.parametrize(
    ("name", "reason", "instead"),
    [
        ("TLS13-1-2-Res-PQ-2025-09", "post-quantum", "TLS13-1-2-Res-2021-06"),
        ("TLS13-1-3-PQ-2025-09", "post-quantum", "TLS13-1-3-2021-06"),
        ("TLS13-1-2-Ext2-FIPS-2023-04", "FIPS module", "TLS13-1-2-Ext2-2021-06"),
        ("TLS13-1-2-Ext0-FIPS-2023-04", "FIPS module", "TLS13-1-2-Res-2021-06"),
        ("TLS13-1-2-Res-FIPS-PQ-2025-09", "post-quantum", "TLS13-1-2-Res-2021-06"),
        ("TLS-1-0-2015-04", "DES-CBC3-SHA", "2016-08"),
    ],
)
def test_policy_that_cannot_be_kept_is_refused_with_another(
    name: str, reason: str, instead: str
) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        security_policy(PREFIX + name)

    said = str(refusal.value)
    assert said.startswith(f"security policy {PREFIX}{name} is not available: ")
    assert reason in said
    assert f"take {PREFIX}{instead}" in said


@pytest.mark.parametrize("name", ["", "TLS13-1-2-Res-2021-06", "ELBSecurityPolicy-x", "PQ"])
def test_unknown_policy_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidSetting) as refusal:
        security_policy(name)

    assert str(refusal.value).startswith(f"unknown security policy {name!r}; known are: ")
    assert all(known in str(refusal.value) for known in POLICIES)


def test_every_policy_is_documented() -> None:
    page = PAGE.read_text()

    assert all(f"| `{name.removeprefix(PREFIX)}`" in page for name in POLICIES)
    assert f"`{DEFAULT.removeprefix(PREFIX)}`, the default" in page

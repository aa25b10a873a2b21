"""What an HTTPS listener can be asked for, and what contradicts itself."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config.https import Https, https
from gateway.core.errors import InvalidSetting
from gateway.core.tls_policies import DEFAULT

NOTHING: dict[str, Any] = {
    "is_https": False,
    "certificates": (),
    "ssl_policy": None,
    "mutual_authentication": "off",
    "trust_store": None,
    "ignores_expiry": False,
}
STORE = Path("clients.pem")
VERIFY = {"mutual_authentication": "verify", "trust_store": STORE}


def test_nothing_asked_for_is_plain_http() -> None:
    assert https(**NOTHING) is None


def test_https_alone_takes_a_generated_certificate() -> None:
    assert https(**{**NOTHING, "is_https": True}) == Https((), DEFAULT)


def test_a_certificate_asks_for_https_and_may_hold_its_key() -> None:
    found = https(**{**NOTHING, "certificates": ("a.pem", "b.pem,b.key")})

    a, b = Path("a.pem"), Path("b.pem")
    assert found == Https(((a, a), (b, Path("b.key"))), DEFAULT)


def test_mutual_tls() -> None:
    asked = {**NOTHING, "is_https": True, **VERIFY, "ignores_expiry": True}

    assert https(**asked) == Https((), DEFAULT, STORE, ignores_client_certificate_expiry=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ssl_policy": DEFAULT}, "need --https or --certificate"),
        (VERIFY, "need --https or --certificate"),
        ({"is_https": True, "mutual_authentication": "verify"}, "need each other"),
        ({"is_https": True, "trust_store": STORE}, "need each other"),
        ({"is_https": True, "ignores_expiry": True}, "needs --trust-store"),
        ({"is_https": True, "mutual_authentication": "passthrough"}, "take verify"),
    ],
)
def test_settings_that_contradict_each_other_say_what_to_do(
    asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSetting, match=said):
        https(**{**NOTHING, **asked})

"""Names that tell the owner of a thing, and whether that process still lives."""

import os
import subprocess
import sys

import pytest

from gateway.runtime.owner import is_ownerless, own_prefix


def prefix_of_the_dead() -> str:
    """Return the names' beginning of a process that has ended and been reaped."""
    code = "from gateway.runtime.owner import own_prefix; print(own_prefix())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_what_a_living_process_made_has_an_owner() -> None:
    assert not is_ownerless(f"{own_prefix()}0123abcd")


def test_what_a_dead_process_made_has_none() -> None:
    assert is_ownerless(f"{prefix_of_the_dead()}0123abcd")
    assert is_ownerless(f"{prefix_of_the_dead()}zz_9")


def test_a_process_of_another_namespace_never_counts_as_dead() -> None:
    _, pid, _, _ = prefix_of_the_dead().split("-")

    assert not is_ownerless(f"gateway-{pid}-1-0123abcd")


def test_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{prefix_of_the_dead()}0123abcd"

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)

    assert not is_ownerless(name)


@pytest.mark.parametrize("ending", ["", "a/b", "a b", "../x", "a\n"])
def test_what_we_did_not_name_is_not_ours(ending: str) -> None:
    assert not is_ownerless(prefix_of_the_dead() + ending)


@pytest.mark.parametrize(
    "name",
    ["gateway", "gateway-", "gateway-x", "gateway-9-x", "my-gateway-9-9-x", "gateway--9-9-x"],
)
def test_name_of_another_form_is_not_ours(name: str) -> None:
    assert not is_ownerless(name)


def test_own_prefix_names_the_process() -> None:
    assert own_prefix().startswith(f"gateway-{os.getpid()}-")

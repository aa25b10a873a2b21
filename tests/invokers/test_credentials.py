"""Credentials: where they come from, how they are renewed, and that requests never wait."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.notices import OperatorWarning
from gateway.core.sigv4 import Credentials
from gateway.invokers.credentials import (
    RenewedCredentials,
    botocore_region,
    botocore_source,
)
from gateway.testing import FakeSink
from tests.invokers.gate import PATIENCE_SECONDS

OFTEN_SECONDS = 0.005
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PROFILES = """
[default]
aws_access_key_id = AKIDDEFAULT
aws_secret_access_key = one
[other]
aws_access_key_id = AKIDOTHER
aws_secret_access_key = two
aws_session_token = three
region = eu-central-1
[broken]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = nowhere
"""


def keys(number: int) -> Credentials:
    return Credentials(f"AKID{number}", SECRET, f"token{number}")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a thread has done what it must."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.to_thread(threading.Event().wait, OFTEN_SECONDS)


class Source:
    """A source that a test answers for."""

    def __init__(self, *answers: Credentials | Exception) -> None:
        self.answers = [*answers]
        """The last one is given again and again."""
        self.threads: list[threading.Thread] = []

    def __call__(self) -> Credentials:
        self.threads.append(threading.current_thread())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_credentials_are_renewed_on_a_thread() -> None:
    source = Source(keys(1), keys(2))
    sink = FakeSink()
    provider = RenewedCredentials(source, sink=sink, refresh_seconds=OFTEN_SECONDS)
    async with provider:
        first = provider.current()
        await until(lambda: provider.current() == keys(2))

    assert first == keys(1)
    assert threading.main_thread() not in source.threads
    assert sink.notices == []


async def test_no_credentials_at_first_is_an_error() -> None:
    refused = InvalidSetting("none")

    with pytest.raises(InvalidSetting, match="none"):
        async with RenewedCredentials(Source(refused), sink=FakeSink()):
            raise AssertionError


async def test_failed_renewal_keeps_what_is_there_and_is_told_once() -> None:
    source = Source(keys(1), OSError(SECRET))  # from then on
    sink = FakeSink()
    provider = RenewedCredentials(source, sink=sink, refresh_seconds=OFTEN_SECONDS)
    async with provider:
        await until(lambda: len(source.threads) > 3)
        kept = provider.current()
        source.answers = [keys(2)]
        await until(lambda: provider.current() == keys(2))

    assert kept == keys(1)
    text = "the AWS credentials could not be renewed: OSError"
    assert sink.notices == [OperatorWarning(text)]


async def test_source_that_hangs_holds_up_neither_requests_nor_the_end() -> None:
    release, is_asked = threading.Event(), threading.Event()

    def source() -> Credentials:
        if threading.current_thread().name == "credentials":
            is_asked.set()
            assert release.wait(PATIENCE_SECONDS)
        return keys(1)

    provider = RenewedCredentials(source, sink=FakeSink(), refresh_seconds=OFTEN_SECONDS)
    async with provider:
        await until(is_asked.is_set)
        held = provider.current()
    release.set()

    assert held == keys(1)


@pytest.mark.parametrize("late", [keys(2), OSError()])
async def test_late_answer_changes_nothing_after_the_end(late: Credentials | Exception) -> None:
    release, is_asked, is_done = threading.Event(), threading.Event(), threading.Event()
    inner = Source(keys(1), late)
    sink = FakeSink()

    def source() -> Credentials:
        if inner.threads:
            is_asked.set()
            assert release.wait(PATIENCE_SECONDS)
            is_done.set()
        return inner()

    provider = RenewedCredentials(source, sink=sink, refresh_seconds=OFTEN_SECONDS)
    async with provider:
        await until(is_asked.is_set)
    release.set()
    await until(is_done.is_set)
    await until(lambda: "credentials" not in [it.name for it in threading.enumerate()])
    await asyncio.to_thread(lambda: None)

    assert provider.current() == keys(1)
    assert sink.notices == []


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment without AWS's variables but for files of our own."""
    path = tmp_path / "credentials"
    path.write_text(PROFILES)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return path


def test_chain_reads_environment_and_profiles(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("botocore")

    assert botocore_source()() == Credentials("AKIDDEFAULT", "one")
    assert botocore_source("other")() == Credentials("AKIDOTHER", "two", "three")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert botocore_source()() == Credentials("AKIDOTHER", "two", "three")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "four")
    monkeypatch.delenv("AWS_PROFILE")
    assert botocore_source()() == Credentials("AKIDENVIRONMENT", "four")


def test_region_is_the_environments_or_the_profiles(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("botocore")

    assert botocore_region() == ""
    assert botocore_region("other") == "eu-central-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert botocore_region() == "us-east-2"


def test_no_credentials_say_what_to_do(profiles: Path) -> None:
    pytest.importorskip("botocore")
    profiles.write_text("")

    with pytest.raises(InvalidSetting, match="no AWS credentials were found; set AWS_PROFILE"):
        botocore_source()


@pytest.mark.parametrize("profile", ["nosuch", "broken"])
def test_profile_that_cannot_be_used_is_an_invalid_setting(profiles: Path, profile: str) -> None:
    pytest.importorskip("botocore")

    with pytest.raises(InvalidSetting, match="the AWS credentials cannot be loaded"):
        botocore_source(profile)


def test_region_of_no_profile_is_an_invalid_setting(profiles: Path) -> None:
    pytest.importorskip("botocore")

    with pytest.raises(InvalidSetting, match="the AWS region cannot be found"):
        botocore_region("nosuch")


@pytest.mark.parametrize("ask", [botocore_source, botocore_region])
def test_missing_botocore_is_an_invalid_setting(
    ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    with pytest.raises(InvalidSetting, match=r"pip install botocore"):
        ask()


def test_temporary_credentials_are_renewed_ahead_of_expiry(profiles: Path, tmp_path: Path) -> None:
    """A process that hands out credentials, as SSO and assumed roles do, which are about to
    expire: the chain asks it again though they are still good."""
    pytest.importorskip("botocore")
    counted = tmp_path / "count"
    script = tmp_path / "process.py"
    soon = (datetime.now(UTC) + timedelta(minutes=14)).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251
    script.write_text(
        f"import json, pathlib\nfile = pathlib.Path({str(counted)!r})\n"
        "number = int(file.read_text() if file.exists() else 0) + 1\n"
        "file.write_text(str(number))\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKID{number}', 'SecretAccessKey': 's',"
        f" 'SessionToken': 't', 'Expiration': {soon!r}}}))\n"
    )
    profiles.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")

    source = botocore_source()

    first, second = source(), source()
    assert first.access_key != second.access_key
    assert first.token == "t"

"""Where the credentials for AWS come from.

botocore's chain finds them: environment, profiles, SSO, assumed roles, web identity, container and
instance. It also renews temporary ones, 15 minutes before they expire, when it is asked; so a
thread asks every half minute, and a request takes what is there and never waits.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Protocol, Self

from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning
from gateway.core.sigv4 import Credentials

REFRESH_SECONDS = 30.0
"""How often it is looked whether credentials are to be renewed."""

EXTRA = "botocore is not installed: pip install botocore"

Source = Callable[[], Credentials]
"""Returns credentials that are good now; may take its time, and raise anything."""


class CredentialsProvider(Protocol):
    """Returns credentials without waiting."""

    def current(self) -> Credentials:
        """Return credentials at once."""
        ...


class RenewedCredentials:
    """A CredentialsProvider that asks a source on a thread, again and again; an async context
    manager.

    The threads are daemons: a stop does not wait for a source that does not answer.
    """

    def __init__(
        self, source: Source, *, sink: Sink, refresh_seconds: float = REFRESH_SECONDS
    ) -> None:
        self._source = source
        self._sink = sink
        self._refresh_seconds = refresh_seconds
        self._is_failing = False
        self._is_over = False

    async def __aenter__(self) -> Self:
        """Get the first credentials; raises what the source raises."""
        self._loop = asyncio.get_running_loop()
        self._credentials = await asyncio.to_thread(self._source)
        self._plan()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Ask no more."""
        self._is_over = True
        self._timer.cancel()

    def current(self) -> Credentials:
        """Return the newest credentials."""
        return self._credentials

    def _plan(self) -> None:
        thread = threading.Thread(target=self._ask, name="credentials", daemon=True)
        self._timer = self._loop.call_later(self._refresh_seconds, thread.start)

    def _ask(self) -> None:
        """Ask the source, on a thread, and hand its answer to the event loop."""
        try:
            call = partial(self._take, self._source())
        except Exception as error:  # noqa: BLE001 - the last credentials may still be valid
            call = partial(self._warn, type(error).__name__)
        with suppress(RuntimeError):  # the loop is gone: credentials are not needed
            self._loop.call_soon_threadsafe(call)

    def _take(self, credentials: Credentials) -> None:
        if not self._is_over:
            self._credentials = credentials
            self._is_failing = False
            self._plan()

    def _warn(self, kind: str) -> None:
        """Say once that renewing fails; only the kind of the error, its text may hold anything."""
        if self._is_over:
            return
        if not self._is_failing:
            self._is_failing = True
            text = f"the AWS credentials could not be renewed: {kind}"
            self._sink.emit(OperatorWarning(text))
        self._plan()


def botocore_source(profile: str | None = None) -> Source:
    """Return botocore's credential chain as a source, and look for credentials; blocks.

    Raises InvalidSetting when botocore is missing, or finds no credentials, or no such profile.
    """
    session = botocore_session(profile)
    errors = import_module("botocore.exceptions")
    try:
        found = session.get_credentials()
    except errors.BotoCoreError as error:
        raise InvalidSetting(f"the AWS credentials cannot be loaded: {error}") from error
    if found is None:
        raise InvalidSetting(
            "no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )

    def source() -> Credentials:
        keys = found.get_frozen_credentials()
        return Credentials(keys.access_key, keys.secret_key, keys.token or "")

    return source


def botocore_region(profile: str | None = None) -> str:
    """Return the region of the environment or the profile, or an empty text; blocks.

    Raises InvalidSetting when botocore is missing, or there is no such profile.
    """
    session = botocore_session(profile)
    errors = import_module("botocore.exceptions")
    try:
        return str(session.get_config_variable("region") or "")
    except errors.BotoCoreError as error:
        raise InvalidSetting(f"the AWS region cannot be found: {error}") from error


def botocore_session(profile: str | None) -> Any:
    """Return a session of botocore, which is an optional extra; raises InvalidSetting."""
    try:
        module = import_module("botocore.session")
    except ImportError as error:
        raise InvalidSetting(EXTRA) from error
    return module.Session(profile=profile)

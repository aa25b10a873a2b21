"""A provider whose credentials stay."""

from dataclasses import dataclass, field

from gateway.core.sigv4 import Credentials


@dataclass(frozen=True, slots=True)
class FixedCredentials:
    credentials: Credentials = field(repr=False)

    def current(self) -> Credentials:
        return self.credentials

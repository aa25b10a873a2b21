"""Where a function is that another service runs, and how it is invoked there."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gateway.core.arn import REGION
from gateway.core.circuit import CircuitSettings
from gateway.core.errors import InvalidSetting
from gateway.core.invoke_api import FunctionName

LAMBDA_TIMEOUT_SECONDS = 905.0
"""Lambda's longest timeout is 900 s (lambda.md 10), and its word about it must have time to
come."""

RIE_TIMEOUT_SECONDS = 300.0
"""What an emulator takes that has no AWS_LAMBDA_FUNCTION_TIMEOUT (lambda.md 1.11)."""

RIE_FUNCTION_NAME = "function"
"""The only name that an emulator answers to (lambda.md 1.11)."""

HOST = re.compile(r"[a-z0-9._:-]+")
"""As a URL has it after urlsplit: in lower case, an IPv6 address without its brackets."""

PORTS = {"http": 80, "https": 443}

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL")
IGNORE_ENDPOINTS = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scheme, host and port of a URL without a path."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = "" if PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{shown}"


@dataclass(frozen=True, slots=True)
class Emulators:
    """Runtime Interface Emulators that run the same function."""

    addresses: tuple[Endpoint, ...]

    def __str__(self) -> str:
        count = len(self.addresses)
        return "1 emulator" if count == 1 else f"{count} emulators"


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A function of AWS Lambda, or of an endpoint that speaks its Invoke API."""

    name: FunctionName
    region: str
    endpoint: Endpoint | None = None
    """None: AWS's own in the region."""
    profile: str = ""
    """Of the AWS configuration files; empty: what the environment names."""
    wants_log: bool = False
    """Ask for the tail of the log with each invocation."""
    retries: int = 0
    """After a throttle or a connection that failed."""
    circuit: CircuitSettings = field(default_factory=CircuitSettings)

    def __str__(self) -> str:
        name = ":".join(filter(None, (self.name.identifier, self.name.qualifier)))
        if self.endpoint is None:
            return f"AWS Lambda {name} in {self.region}"
        return f"Lambda {name} in {self.region} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class Remote:
    """A function elsewhere; `str()` says where, in a few words."""

    place: Emulators | LambdaFunction
    timeout_seconds: float = LAMBDA_TIMEOUT_SECONDS
    """For an invocation with all its attempts."""
    connect_seconds: float = 5.0
    """Name, connection and TLS handshake together."""
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts, in lower case, that may be link-local or metadata addresses."""

    def __str__(self) -> str:
        return f"remote: {self.place}"


def address(text: str, option: str) -> Endpoint:
    """Return what a URL names; raises InvalidSetting, without the credentials that may be in it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address(option) from None
    is_bare = parts.path in {"", "/"} and not (parts.query or parts.fragment)
    is_named = host is not None and HOST.fullmatch(host) and "@" not in parts.netloc
    if parts.scheme not in PORTS or host is None or not is_named or not is_bare or port == 0:
        raise _no_address(option)
    return Endpoint(parts.scheme, host, port or PORTS[parts.scheme])


def _no_address(option: str) -> InvalidSetting:
    return InvalidSetting(f"{option} needs the form http://HOST:PORT or https://HOST, and no more")


def emulators(urls: tuple[str, ...]) -> Emulators:
    """Return a pool's addresses; raises InvalidSetting where one is named twice: an emulator
    crashes when two invocations overlap (lambda.md 1.11)."""
    addresses = tuple(address(url, "--rie") for url in urls)
    for each in addresses:
        if addresses.count(each) > 1:
            raise InvalidSetting(f"--rie {each} is given twice; it takes one invocation at a time")
    return Emulators(addresses)


def endpoint(given: str, machine: Mapping[str, str]) -> Endpoint | None:
    """Return the endpoint that was asked for, by option or as for AWS's own tools by variable
    (AWS SDKs and Tools reference guide, "Service-specific endpoints"); raises InvalidSetting."""
    if given:
        return address(given, "--endpoint-url")
    if machine.get(IGNORE_ENDPOINTS, "").lower() == "true":
        return None
    for variable in ENDPOINT_VARIABLES:
        if machine.get(variable):
            return address(machine[variable], variable)
    return None


def region(
    name: FunctionName, given: str, machine: Mapping[str, str], of_profile: Callable[[], str]
) -> str:
    """Return the region of a function: as given, else of its ARN, of AWS_REGION, of the profile.

    Raises InvalidSetting without one, or for two that contradict each other.
    """
    if given and name.region and given != name.region:
        raise InvalidSetting(f"--region {given} is not the region of the ARN, {name.region}")
    found = given or name.region or machine.get("AWS_REGION", "") or of_profile()
    if not found:
        raise InvalidSetting("no AWS region was found; give --region, or set AWS_REGION")
    if not REGION.fullmatch(found):
        raise InvalidSetting(f"region {found!r} is not valid; it needs a name like eu-west-1")
    return found


def account_id(name: FunctionName, given: str, default: str) -> str:
    """Return the account of a function: of its ARN, else as given, else the default; raises
    InvalidSetting when the two contradict each other."""
    *others, _ = name.identifier.split(":")
    own = next((part for part in others if len(part) == 12 and part.isdigit()), "")
    if own and given and own != given:
        raise InvalidSetting(f"--account-id {given} is not the account of the ARN, {own}")
    return own or given or default


def short_name(name: FunctionName) -> str:
    """Return a function's name without region and account."""
    return name.identifier.rpartition(":")[2]

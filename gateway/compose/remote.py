"""A remote function's settings into a running Invoker.

A gateway with a local handler never imports this: the client of the remote invokers looks for
proxies with the standard library's urllib.request, which alone takes 31 ms to import.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

from gateway.config.remote import Emulators, Endpoint, LambdaFunction, Remote
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Clock, Invoker, Sink
from gateway.core.invoke_api import endpoint
from gateway.invokers.aws import AwsLambda, AwsSettings
from gateway.invokers.credentials import CredentialsProvider, RenewedCredentials, botocore_source
from gateway.invokers.rie import Emulator, RiePool, RieSettings
from gateway.invokers.wrappers import CircuitBreaker, ConcurrencyCap
from gateway.runtime.leases import LeaseLimits, LeaseQueue, VersionLeases
from gateway.wire.client import Peer, PeerSettings, environment_proxy


@asynccontextmanager
async def running(
    remote: Remote, limits: LeaseLimits, *, clock: Clock, sink: Sink
) -> AsyncIterator[Invoker]:
    """Be ready to invoke a remote function: yields the Invoker, and ends its connections.

    Of the limits, a pool of emulators has only the time that an invocation waits: its concurrency
    is the number of emulators. Raises InvalidSetting when there are no credentials, or when
    botocore, which finds them, is not installed.
    """
    place = remote.place
    async with AsyncExitStack() as stack:
        if isinstance(place, Emulators):
            yield await _emulators(place, remote, limits, clock, sink, stack)
        else:
            yield await _function(place, remote, limits, clock, sink, stack)


async def _emulators(  # noqa: PLR0913, PLR0917 - what is brought together here
    place: Emulators,
    remote: Remote,
    limits: LeaseLimits,
    clock: Clock,
    sink: Sink,
    stack: AsyncExitStack,
) -> Invoker:
    """Return a pool of emulators. It needs no circuit breaker: it takes each one that fails out of
    use by itself, and looks every second whether it is back."""
    found = []
    for each in place.addresses:
        peer = await stack.enter_async_context(peer_of(each, remote, connections=1))
        found.append(Emulator(each.host, each.port, peer))
    settings = RieSettings(remote.timeout_seconds, limits.queue_timeout_seconds)
    return await stack.enter_async_context(RiePool(found, settings, clock=clock, sink=sink))


async def _function(  # noqa: PLR0913, PLR0917 - what is brought together here
    place: LambdaFunction,
    remote: Remote,
    limits: LeaseLimits,
    clock: Clock,
    sink: Sink,
    stack: AsyncExitStack,
) -> Invoker:
    """Return a function behind a circuit breaker, behind a cap on concurrency."""
    credentials = await _credentials(place.profile, sink, stack)
    origin = place.endpoint or lambda_address(place.region)
    peer = peer_of(origin, remote, connections=max(limits.concurrency, 1))
    await stack.enter_async_context(peer)
    settings = AwsSettings(
        place.name, place.region, remote.timeout_seconds, place.wants_log, place.retries
    )
    invoker = AwsLambda(settings, peer, credentials, clock=clock, jitter=random.random)
    breaker = CircuitBreaker(invoker, str(place), place.circuit, clock=clock, sink=sink)
    reason = (
        f"the function is busy with {limits.concurrency} invocations; raise --concurrency, "
        "or let others wait with --queue-timeout"
    )
    leases = VersionLeases({place.name: LeaseQueue(limits, sink, reason)})
    stack.callback(leases.end)
    return ConcurrencyCap(breaker, leases, place.name)


def lambda_address(region: str) -> Endpoint:
    """Return where AWS's own Lambda is in a region."""
    scheme, _, host = endpoint(region).partition("://")
    return Endpoint(scheme, host, 443)


def peer_of(address: Endpoint, remote: Remote, *, connections: int) -> Peer:
    """Return the connections to one origin, through the proxy that the environment names; raises
    InvalidSetting for a malformed proxy URL."""
    place = (address.scheme, address.host, address.port)
    settings = PeerSettings(
        connections=connections,
        connect_seconds=remote.connect_seconds,
        proxy=environment_proxy(*place),
        allowed_hosts=remote.allowed_hosts,
    )
    return Peer(*place, settings)


async def _credentials(profile: str, sink: Sink, stack: AsyncExitStack) -> CredentialsProvider:
    """Find credentials and keep them fresh; raises InvalidSetting, also where the chain knows where
    to look and then fails: a login that is over, a role that may not be assumed."""
    source = await asyncio.to_thread(botocore_source, profile or None)
    errors = import_module("botocore.exceptions")
    try:
        return await stack.enter_async_context(RenewedCredentials(source, sink=sink))
    except (errors.BotoCoreError, errors.ClientError) as error:
        text = f"the AWS credentials are not available: {type(error).__name__}: {error}"
        raise InvalidSetting(text) from error

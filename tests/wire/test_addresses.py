"""Addresses that are refused in every form, and names that are looked up for each connection."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from gateway.wire.addresses import addresses_of, check_literal, is_forbidden, literal
from gateway.wire.client import Peer, PeerSettings, Unreachable
from tests.wire.origin import HOST, answering, exchange, serving, until

FORBIDDEN = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.0",
    "169.254.255.255",
    "fe80::1",
    "fe80::1%lo",
    "febf:ffff::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "2002:a9fe:a9fe::1",
]

ALLOWED = [
    "127.0.0.1",
    "::1",
    "10.0.0.1",
    "172.17.0.2",
    "192.168.1.1",
    "169.253.255.255",
    "169.255.0.0",
    "100.100.100.201",
    "fec0::1",
    "fd00:ec1::254",
    "fd00:ec3::254",
    "::ffff:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "2002:7f00:1::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_link_local_and_metadata_addresses_are_forbidden(address: str) -> None:
    assert is_forbidden(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED)
def test_other_addresses_are_allowed(address: str) -> None:
    assert not is_forbidden(ip_address(address))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("2852039166", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("169.254.43518", "169.254.169.254"),
        ("0xa9.254.169.254", "169.254.169.254"),
        ("shop.example", None),
        ("localhost", None),
        ("1.example", None),
        ("", None),
        ("\xe4", None),
    ],
)
def test_written_out_addresses_are_seen(host: str, address: str | None) -> None:
    assert literal(host) == (None if address is None else ip_address(address))


@pytest.mark.parametrize("host", ["2852039166", "169.254.169.254", "::ffff:a9fe:a9fe"])
def test_forbidden_literal_is_unreachable_by_any_way(host: str) -> None:
    with pytest.raises(Unreachable, match="not allowed"):
        check_literal(host)


def test_name_is_let_through() -> None:
    assert check_literal("metadata.example") is None  # type: ignore[func-returns-value]


Answers = list[list[str] | OSError]


class NameServer(asyncio.SelectorEventLoop):
    """An event loop that answers look-ups from a list, one after the other."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        self.asked.append(host)
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in answer]


def looked_up(*answers: list[str] | OSError, is_allowed: bool = False) -> list[tuple[str, int]]:
    """Return the addresses of a name whose look-ups are answered like this."""
    with asyncio.Runner(loop_factory=lambda: NameServer([*answers])) as runner:
        return runner.run(addresses_of("shop.example", 80, is_allowed=is_allowed))


def test_name_gives_each_of_its_addresses_once() -> None:
    assert looked_up(["192.0.2.1", "192.0.2.2", "192.0.2.1"]) == [
        ("192.0.2.1", 80),
        ("192.0.2.2", 80),
    ]


@pytest.mark.parametrize("answer", [["169.254.169.254"], ["192.0.2.1", "169.254.169.254"]])
def test_one_forbidden_address_makes_a_name_unreachable(answer: list[str]) -> None:
    with pytest.raises(Unreachable, match=r"shop\.example is at 169\.254\.169\.254"):
        looked_up(answer)


def test_forbidden_address_is_allowed_by_name() -> None:
    assert looked_up(["169.254.169.254"], is_allowed=True) == [("169.254.169.254", 80)]


def test_name_that_is_gone_is_unreachable() -> None:
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Unreachable, match=r"shop\.example has no address: .*not known"):
        looked_up(gone)


def exchanges(*answers: list[str] | OSError, count: int, **settings: Any) -> tuple[Any, int]:
    """Return the outcomes of exchanges on connections of their own, and how many came."""

    async def run() -> tuple[Any, int]:
        outcomes: list[object] = []
        async with (
            serving(answering) as origin,
            Peer("http", "shop.example", origin.port, PeerSettings(**settings)) as peer,
        ):
            for _ in range(count):
                try:
                    outcomes.append((await exchange(peer)).body)
                except Unreachable as error:
                    outcomes.append(str(error))
                for connection in peer._connections:
                    connection.abort()
                await until(lambda: not peer._connections)
        return outcomes, len(origin.requests)

    with asyncio.Runner(loop_factory=lambda: NameServer([*answers])) as runner:
        return runner.run(run())


def test_name_is_looked_up_for_every_connection_and_every_answer_checked() -> None:
    outcomes, came = exchanges([HOST], ["169.254.169.254"], [HOST], count=3)

    assert outcomes[0] == outcomes[2] == b"ok"
    assert "metadata" in outcomes[1]
    assert came == 2


def test_checked_address_is_connected_to_without_another_look_up() -> None:
    outcomes, came = exchanges([HOST], count=1)  # a second look-up would have no answer

    assert (outcomes, came) == ([b"ok"], 1)


def test_name_that_came_back_is_reachable_again() -> None:
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    outcomes, came = exchanges(gone, [HOST], count=2, connections=1)

    assert "has no address" in outcomes[0]
    assert (outcomes[1], came) == (b"ok", 1)


def test_next_address_is_tried_where_the_first_refuses() -> None:
    outcomes, came = exchanges(["127.0.0.2", HOST], count=1)

    assert (outcomes, came) == ([b"ok"], 1)

"""The Host behind a listener, and the listeners that `--as` can name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidSetting
from gateway.core.listener import ListenerAddress, listener_address, split_port

DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"


@pytest.mark.parametrize(
    ("port", "received", "expected"),
    [
        (80, "example.com", "example.com"),
        (80, "example.com:80", "example.com"),
        (80, "example.com:8080", "example.com"),
        (80, "example.com:", "example.com"),
        (443, "example.com:443", "example.com"),
        (443, "[2001:DB8::1]:443", "[2001:db8::1]"),
        (8080, "example.com", "example.com:8080"),
        (8080, "example.com:8080", "example.com:8080"),
        (8080, "example.com:81", "example.com:81"),
        (8080, "example.com:", "example.com:8080"),
        (8080, "[::1]", "[::1]:8080"),
        (8080, "[::1]:9", "[::1]:9"),
        (8080, "EXAMPLE.Com", "example.com:8080"),
    ],
)
def test_host_follows_the_port_of_the_listener(port: int, received: str, expected: str) -> None:
    assert ListenerAddress("http", port, DNS_NAME).host(received) == expected


@pytest.mark.parametrize(
    ("port", "received", "expected"),
    [
        (80, "Other:8080", "other"),
        (8080, "Other", "other"),
        (8080, "other:81", "other:81"),
        (8080, "other:", "other"),
    ],
)
def test_authority_of_an_absolute_target_gets_no_port_added(
    port: int, received: str, expected: str
) -> None:
    assert ListenerAddress("http", port, DNS_NAME).host(received, is_absolute=True) == expected


LOCAL = ["127.0.0.1", "127.0.0.1:9000", "localhost", "LocalHost:80", "[::1]:8080", "[fe80::1]"]
DOMAINS = ["127.0.0.1.nip.io", "localhost.example.org", "example.com", "1.2.3", "mylocalhost"]


@pytest.mark.parametrize("received", LOCAL)
def test_host_that_names_no_domain_becomes_that_of_the_listener(received: str) -> None:
    for port, expected in ((443, "shop.example.org"), (8443, "shop.example.org:8443")):
        listener = ListenerAddress("https", port, "shop.example.org", replaces_local_host=True)

        assert listener.host(received) == expected


@pytest.mark.parametrize("received", DOMAINS)
def test_host_that_names_a_domain_is_kept(received: str) -> None:
    listener = ListenerAddress("https", 443, "shop.example.org", replaces_local_host=True)

    assert listener.host(received) == received


@pytest.mark.parametrize("received", LOCAL)
def test_local_host_is_kept_by_a_listener_of_its_own(received: str) -> None:
    assert ListenerAddress("http", 80, DNS_NAME).host(received) == split_port(received.lower())[0]


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("a", ("a", "")),
        ("a:1", ("a", "1")),
        ("a:", ("a", "")),
        ("[::1]", ("[::1]", "")),
        ("[::1]:1", ("[::1]", "1")),
        ("", ("", "")),
        (":80", ("", "80")),
    ],
)
def test_port_is_split_from_the_last_colon(authority: str, expected: tuple[str, str]) -> None:
    assert split_port(authority) == expected


@given(st.sampled_from(["example.com", "127.0.0.1", "[::1]"]), st.integers(1, 65535))
def test_listener_named_by_a_url_puts_its_own_name_into_the_host(host: str, port: int) -> None:
    listener = listener_address(f"http://{host}:{port}")

    assert listener.host("localhost") == (host if port in {80, 443} else f"{host}:{port}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://shop.example.org", ("http", 80, "shop.example.org")),
        ("https://shop.example.org", ("https", 443, "shop.example.org")),
        ("https://Shop.Example.org:8443/", ("https", 8443, "shop.example.org")),
        ("http://shop_1", ("http", 80, "shop_1")),
        ("http://[2001:DB8::1]:8080", ("http", 8080, "[2001:db8::1]")),
        ("http://a:1", ("http", 1, "a")),
        ("http://a:65535", ("http", 65535, "a")),
    ],
)
def test_url_names_a_listener(url: str, expected: tuple[str, int, str]) -> None:
    assert listener_address(url) == ListenerAddress(*expected, replaces_local_host=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example.org",
        "HTTPS://shop.example.org",
        "ftp://shop.example.org",
        "https://",
        "https://shop.example.org/path",
        "https://shop.example.org?x",
        "https://user@shop.example.org",
        "https://shop.example.org:https",
        "https://shop.example.org:",
        "https://shop.example.org:٨٠",
        "https://shöp.example.org",
        f"https://shop.example.org:{5000 * '9'}",
        "https://shop.example.org\n",
        "https://::1",
    ],
)
def test_url_that_names_no_listener_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        listener_address(url)

    assert str(caught.value) == (
        f"{url!r} is not a listener; write it like https://shop.example.org:443"
    )


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_port_that_tcp_does_not_have_is_refused(port: int) -> None:
    with pytest.raises(InvalidSetting) as caught:
        listener_address(f"http://a:{port}")

    assert str(caught.value) == f"port {port} of 'http://a:{port}' is not between 1 and 65535"

"""A listener: its defaults, and how it is named to people."""

from gateway.config.https import Https
from gateway.config.listener import Listener
from gateway.core.attributes import Attributes


def test_listener_stays_on_loopback_with_awss_attributes_unless_told_otherwise() -> None:
    listener = Listener("shop")

    assert (listener.host, listener.port, listener.scheme) == ("127.0.0.1", 8080, "http")
    assert (listener.attributes, listener.seen_as) == (Attributes(), "")
    assert not listener.is_faithful


def test_listener_with_certificates_speaks_https() -> None:
    assert Listener("shop", https=Https()).scheme == "https"


def test_place_is_address_or_path() -> None:
    assert Listener("shop", "::1", 80).place == "::1:80"
    assert Listener("shop", uds="/run/shop.sock").place == "unix:/run/shop.sock"

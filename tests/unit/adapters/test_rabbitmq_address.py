"""The address of a RabbitMQ: what its parts mean, and what is shown of it."""

from __future__ import annotations

import pytest

from kato_tasks.adapters.rabbitmq.address import Address, addresses_of, shown
from kato_tasks.adapters.rabbitmq.source import RabbitmqSource
from kato_tasks.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://localhost", Address("localhost", 5672, "/", "guest", "guest")),
        ("amqp://ada:hush@mq:5673/", Address("mq", 5673, "/", "ada", "hush")),
        ("amqp://ada:hush@mq//", Address("mq", 5672, "/", "ada", "hush")),
        ("amqp://ada:h%40sh%2F@mq/%2Fown", Address("mq", 5672, "/own", "ada", "h@sh/")),
        ("pyamqp://mq/shop", Address("mq", 5672, "shop", "guest", "guest")),
        ("amqps://mq/shop", Address("mq", 5671, "shop", "guest", "guest", is_tls=True)),
        ("amqp://[::1]:5673/shop", Address("::1", 5673, "shop", "guest", "guest")),
    ],
)
def test_the_parts_of_an_address(url: str, address: Address) -> None:
    assert addresses_of(url) == (address,)


def test_several_nodes_stand_between_semicolons() -> None:
    assert [address.node for address in addresses_of("amqp://a;amqp://b:5673/; amqp://[::1]")] == [
        "a:5672",
        "b:5673",
        "[::1]:5672",
    ]


@pytest.mark.parametrize(
    "url", ["", "mq:5672", "redis://mq", "http://ada:hush@mq", "amqp://ada:hush@mq:port", "amqp://["]
)
def test_what_is_no_address_is_refused_with_the_form_and_without_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match="write amqp://user:password@host:5672/") as caught:
        addresses_of(url)
    assert "hush" not in str(caught.value)


def test_nothing_that_is_shown_has_user_or_password() -> None:
    addresses = addresses_of("amqp://ada:hush@B:5673/%2Fown;amqp://ada:hush@a/%2Fown")
    assert shown(addresses) == "a:5672,b:5673/%2Fown"
    assert "hush" not in repr(addresses)


def test_the_lease_of_a_queue_is_the_same_in_whatever_order_its_nodes_are_named() -> None:
    one = RabbitmqSource("amqp://ada:hush@a;amqp://ada:hush@b", "orders")
    other = RabbitmqSource("amqp://eve:sush@B:5672/;amqp://eve:sush@a", "orders")
    assert one.reader_lease == other.reader_lease == "rabbitmq/a:5672,b:5672/%2F/orders"
    assert RabbitmqSource("amqp://a", "others").reader_lease != one.reader_lease


def test_a_queue_that_is_made_with_a_single_active_reader_needs_no_lease() -> None:
    assert RabbitmqSource("amqp://a", "orders", single_active=True).reader_lease == ""

"""The address of a RabbitMQ: one URL, or several of one cluster with ``;`` between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from kato_tasks.errors import ConfigurationError

SCHEMES = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
"""What an address begins with, and the port that it then means."""


@dataclass(frozen=True, slots=True)
class Address:
    """One node of a RabbitMQ, and who asks it for what."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    is_tls: bool = False

    @property
    def node(self) -> str:
        """Its host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def addresses_of(url: str) -> tuple[Address, ...]:
    """Return the nodes that an address names; raises ConfigurationError, without secrets, for what is none."""
    return tuple(_address_of(one.strip()) for one in url.split(";") if one.strip()) or (_address_of(""),)


def shown(addresses: tuple[Address, ...]) -> str:
    """Return nodes and vhost as people and other processes know them, without user and password."""
    nodes = ",".join(sorted({address.node.lower() for address in addresses}))
    return f"{nodes}/{quote(addresses[0].vhost, safe='')}"


def _address_of(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in SCHEMES:
        raise ConfigurationError("RABBITMQ_URL is not the address of a RabbitMQ: write amqp://user:password@host:5672/")
    return Address(
        host=parts.hostname or "localhost",
        port=port or SCHEMES[parts.scheme],
        vhost=unquote(parts.path[1:]) or "/",
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        is_tls=parts.scheme == "amqps",
    )


__all__ = ["Address", "addresses_of", "shown"]

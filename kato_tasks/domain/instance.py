"""A KATO instance's address: its name, which is shown and stored, and its credentials, which never are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_CREDENTIALS = re.compile(r"^([A-Za-z][\w+.-]*://)?.*@", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")


def instance_name(url: str) -> str:
    """Return the address without credentials. It names the instance in bindings, keys, logs and on screens."""
    return _CREDENTIALS.sub(r"\1", url) if "@" in url else url


@dataclass(frozen=True, slots=True)
class Instance:
    """One KATO instance as KATO_URLS gives it. ``host`` is ready for DNS and for a Host header."""

    name: str
    scheme: str
    host: str
    port: int
    path: str
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Instance:
        """Read an address. Raises ValueError with a sentence that repeats no credentials."""
        name = instance_name(url)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # What stands where the port belongs may be half of a password with a comma or slash in it.
            shown = re.sub(r":(?!\d{1,9}(/|$)|//)[^:]*$", ":***", name)
            raise ValueError(
                f"{shown!r} is no address: a port is a number below 65536; write http://host:port, and the commas and "
                "slashes of a password as %2C and %2F"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{name!r} is no http:// or https:// address; write http://host:port")
        if "?" in url or "#" in url or "@" in parts.path:
            raise ValueError(f"{name!r} has a query, a fragment or an @ in its path; write http://host:port")
        if not parts.path.isascii() or re.search(r"[\x00-\x20\x7f]", url):
            raise ValueError(f"{name!r} has a space, a control character or a path that is not ASCII")
        if port == 0:
            raise ValueError(f"{name!r} is no address: its port is 0; write http://host:port")
        host = _dns_name(parts.hostname, name)
        if not _HOST.fullmatch(host):
            raise ValueError(f"{name!r} is no address: it has no host; write http://host:port")
        return cls(
            name=name.rstrip("/"),
            scheme=parts.scheme,
            host=host,
            port=port or (443 if parts.scheme == "https" else 80),
            path=parts.path.rstrip("/"),
            user=None if parts.username is None else unquote(parts.username),
            password=unquote(parts.password or ""),
        )


def _dns_name(host: str, name: str) -> str:
    if host.isascii():
        return host
    import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as exc:
        raise ValueError(f"{name!r} is no address: its host is no international domain name ({exc})") from None

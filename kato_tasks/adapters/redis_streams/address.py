"""How the address of a stream's Redis is shown: without what must not be seen."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown_address(url: str) -> str:
    """Return host, port and database of a Redis URL, without user, password and options."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{host}{f':{parts.port}' if parts.port else ''}{parts.path}" if host else parts.path

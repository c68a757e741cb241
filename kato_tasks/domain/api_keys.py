"""Keys of HTTP callers: what a key allows, and how its secret is kept. Pure.

A key is ``kt_<id>_<secret>``. Its id names it in lists; the secret has 256 random bits, so one round of SHA-256 keeps
it as safe as a slow hash would.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from kato_tasks.errors import InvalidEvent

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_FORM = re.compile(r"kt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret.

    ``session_prefix`` limits it to sessions whose ids begin so ('' for all). ``requests_per_second`` limits its
    requests (0: no limit), and while more than ``backlog`` events of all callers wait to be applied, it may append none
    (0: no limit). ``secret_hash`` is the SHA-256 of the secret, in hex.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    session_prefix: str
    requests_per_second: float
    backlog: int
    created_ms: int
    secret_hash: str

    def allows(self, scope: Scope) -> bool:
        """Return whether the key allows what ``scope`` names. ``admin`` allows everything."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, session_id: str) -> bool:
        """Return whether the key may read and write this session."""
        return session_id.startswith(self.session_prefix)

    def matches(self, secret: str) -> bool:
        """Return whether ``secret`` is the key's, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(_hash(secret), self.secret_hash)

    def shown(self) -> dict[str, Any]:
        """Return what a list of keys shows: everything but the hash."""
        return {name: value for name, value in asdict(self).items() if name != "secret_hash"}

    def dump(self) -> str:
        """Return the key as the store keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> ApiKey:
        """Read what ``dump`` returned. Fields of a later version are ignored."""
        kept = json.loads(text)
        known = {field.name: kept[field.name] for field in fields(cls)}
        return cls(**{**known, "scopes": tuple(kept["scopes"])})


def make_key(
    scopes: tuple[Scope, ...],
    *,
    name: str = "",
    session_prefix: str = "",
    requests_per_second: float = 0,
    backlog: int = 0,
    now_ms: int,
) -> tuple[ApiKey, str]:
    """Return a new key and the text that its holder sends, which is kept nowhere.

    Raises InvalidEvent, which names the field.
    """
    if not scopes:
        raise InvalidEvent("scope", f"must be given: one or more of {', '.join(SCOPES)}")
    if len(name) > _NAME_CHARS:
        raise InvalidEvent("name", f"has {len(name)} characters, at most {_NAME_CHARS} are allowed")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    key = ApiKey(key_id, name, ordered, session_prefix, requests_per_second, backlog, now_ms, _hash(secret))
    return key, f"kt_{key_id}_{secret}"


def split_key(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of what a caller sent, or None if it does not have the form of a key."""
    found = _FORM.fullmatch(text)
    return (found[1], found[2]) if found else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


__all__ = ["SCOPES", "ApiKey", "Scope", "make_key", "split_key"]

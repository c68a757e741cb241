"""``/v1/keys``: make, list and revoke keys."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from kato_tasks.api import keys as kept
from kato_tasks.domain.api_keys import Scope
from kato_tasks.domain.ids import MAX_ID_CHARS
from kato_tasks.http_server.needing import Admin, Count, Name, Rt, check_reaches_all, shown_as

router = APIRouter(prefix="/v1/keys", tags=["keys"])
_KEY = {
    "id": "0a1b2c3d4e5f",
    "name": "the shop",
    "scopes": ["write"],
    "session_prefix": "shop-",
    "requests_per_second": 500.0,
    "backlog": 0,
    "created_ms": 1_767_323_045_000,
}


class NewKey(BaseModel):
    """What a new key allows."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"scopes": ["write"], "session_prefix": "shop-"}}
    )

    scopes: list[Scope] = Field(min_length=1, max_length=3)
    name: str = Field(default="", max_length=100)
    session_prefix: str = Field(default="", max_length=MAX_ID_CHARS)
    requests_per_second: float = Field(default=0, strict=True, ge=0, le=1e9)
    backlog: Count = 0


class KeyShown(BaseModel):
    """A key without what opens."""

    id: str
    name: str
    scopes: list[Scope]
    session_prefix: str
    requests_per_second: float
    backlog: int
    created_ms: int


class KeyMade(KeyShown):
    """A new key. `key` is shown this once."""

    key: str


class KeyList(BaseModel):
    """All keys, the oldest first."""

    keys: list[KeyShown]


@router.post(
    "", status_code=201, responses={201: {"content": {"application/json": {"example": {**_KEY, "key": "kt_…"}}}}}
)
def create_key(wanted: NewKey, rt: Rt, key: Admin) -> KeyMade:
    """Make a key. The answer shows it once; only its hash is kept."""
    check_reaches_all(key)
    made, text = kept.create_key(rt, **wanted.model_dump())
    return KeyMade(key=text, **made.shown())


@router.get("", responses=shown_as({"keys": [_KEY]}))
def read_keys(rt: Rt, key: Admin) -> KeyList:
    """List the keys."""
    check_reaches_all(key)
    return KeyList(keys=[KeyShown(**one.shown()) for one in kept.list_keys(rt)])


@router.delete("/{key_id}", status_code=204, response_class=Response)
def revoke_key(key_id: Name, rt: Rt, key: Admin) -> None:
    """Revoke a key. Servers let it in for two seconds more at most."""
    check_reaches_all(key)
    kept.revoke_key(rt, key_id)

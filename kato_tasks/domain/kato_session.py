"""A session's binding to a KATO session, and the intent to change that KATO session.

Both are stored as ASCII, because the Lua side splits their text at fixed bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from kato_tasks.domain.instance import instance_name
from kato_tasks.domain.json_text import ascii_dumps
from kato_tasks.errors import UnreadableRow


@dataclass(frozen=True, slots=True)
class Binding:
    """Which KATO session serves a session now, and what its next answer must say.

    - ``url``: the instance's name, which is its address without credentials
    - ``kato_session``: the id that KATO gave it
    - ``node``: the node's name, as KATO is told it
    - ``time``: KATO's count of its observes
    - ``stm_length``: how many events its STM holds
    - ``epoch``: how many times the session was bound
    - ``expires_ms``: when KATO drops it unless it is written to, in ms by the store's clock
    - ``run``: the run of the store under which this was last known to be what KATO holds
    - ``before``: KATO's time before the last call that changed it, where KATO still is if that call was answered 200
      and not saved (-1: what it holds was read back)
    - ``base``: KATO's time when its STM was last emptied; callers are told the time since then
    - ``shared``: whether it may come to serve another session of the lane, once its STM is empty
    - ``config``: the digest of the session's own config with which it was made, '' without one
    """

    url: str
    kato_session: str
    node: str
    time: int
    stm_length: int
    epoch: int
    expires_ms: int
    run: str = ""
    before: int = -1
    base: int = 0
    shared: bool = False
    config: str = ""

    def dump(self) -> str:
        """Return the binding as it is stored."""
        return ascii_dumps(
            [
                self.url,
                self.kato_session,
                self.node,
                self.time,
                self.stm_length,
                self.epoch,
                self.expires_ms,
                self.run,
                self.before,
                self.base,
                int(self.shared),
                *([self.config] if self.config else ()),
            ]
        )

    @classmethod
    def load(cls, text: str) -> Binding | None:
        """Read what was stored; '' is None. Raises UnreadableRow.

        Version 1 is a list, to whose end later versions may append. A version that this one must not touch is no list.
        """
        if not text:
            return None
        row = _json(text, "binding")
        if not isinstance(row, list) or len(row) < 7:
            raise UnreadableRow("the binding is of another version or broken")
        url, session, node, *numbers = row[:7]
        if not all(isinstance(one, str) for one in (url, session, node, *row[7:8], *row[11:12])):
            raise UnreadableRow("the binding's names are no text")
        if not all(type(one) is int for one in (*numbers, *row[8:11])):
            raise UnreadableRow("the binding's figures are no whole numbers")
        # An early version wrote credentials down; they are left out.
        return cls(instance_name(url), session, node, *row[3:10], *map(bool, row[10:11]), *row[11:12])


def config_digest(config: Mapping[str, Any]) -> str:
    """Return what tells a session's own config from others; '' for none."""
    if not config:
        return ""
    return hashlib.sha256(ascii_dumps(dict(sorted(config.items()))).encode()).hexdigest()[:12]


IntentKind = Literal["observe", "learn", "settle", "verify", "clear_after_learn", "clear", "fence"]


@dataclass(frozen=True, slots=True)
class Intent:
    """The one changing call that is about to be sent, or whose outcome is not known yet.

    - ``call``: the call's random id
    - ``kind``: what is about to be done; ``engine.drain.states`` says what each kind means
    - ``first`` and ``last``: the positions that it is about
    - ``time`` and ``stm_length``: KATO's before the call. ``time`` is -1 where the store forgot the intent of a learn
      that may have been sent (``recovery.settle_suspected_learn``)
    - ``pattern``: the name that a learn must give
    - ``frequency``: how often KATO counted that pattern before the learn (None: it was not read)
    - ``again``: a learn is sent a second time, because the first left no trace. An observe was answered by a gateway:
      if it was not applied it is sent again, and that is no event's attempt
    """

    call: str
    kind: IntentKind
    first: int
    last: int
    time: int = 0
    stm_length: int = 0
    pattern: str = ""
    frequency: int | None = None
    again: bool = False

    @property
    def forgotten(self) -> bool:
        """Whether another holder may have sent this learn, whose intent the store forgot."""
        return self.time < 0

    def dump(self) -> str:
        """Return the intent as it is stored."""
        row: dict[str, Any] = {
            "call": self.call,
            "kind": self.kind,
            "first": self.first,
            "last": self.last,
            "time": self.time,
            "stm_length": self.stm_length,
        }
        if self.kind != "observe":
            row |= {"pattern": self.pattern, "frequency": self.frequency}
        if self.kind != "observe" or self.again:
            row["again"] = self.again
        return ascii_dumps(row)

    @classmethod
    def load(cls, text: str) -> Intent | None:
        """Read what was stored; '' is None. Raises UnreadableRow.

        Version 1 has no ``v``. Fields that it does not know are a later minor version's, and no reason to stop.
        """
        if not text:
            return None
        row = _json(text, "intent")
        if not isinstance(row, dict) or row.get("v", 1) != 1 or str(row.get("kind")) not in _KINDS:
            raise UnreadableRow("the intent is of another version or broken")
        try:
            intent = cls(**{name: row[name] for name in _INTENT if name in row})
        except TypeError as exc:
            raise UnreadableRow(f"the intent is broken ({exc})") from None
        numbers = (intent.first, intent.last, intent.time, intent.stm_length)
        if not all(type(one) is int for one in numbers) or not isinstance(intent.call, str):
            raise UnreadableRow("the intent's figures are no whole numbers")
        return intent


_KINDS = frozenset(get_args(IntentKind))
_INTENT = tuple(one.name for one in fields(Intent))


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UnreadableRow(f"the {what} is no JSON ({exc})") from None

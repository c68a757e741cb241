"""A session's binding to a KATO session, and the intent to change it; both are stored in pieces, so as ASCII."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from kato_tasks.domain.instance import instance_name
from kato_tasks.domain.json_text import ascii_dumps


@dataclass(frozen=True, slots=True)
class Binding:
    """Which KATO session serves a session now, and what its next answer must say.

    ``url`` is the instance's name: its address without credentials. ``time`` is KATO's count of observes,
    ``stm_length`` its STM, ``epoch`` how often the session was bound,
    ``expires_ms`` when KATO drops it unless it is written to,
    ``run`` the run of the store under which this was last known to be what KATO holds,
    ``before`` KATO's time before the last call that changed it: where KATO still is if that call was answered 200
    and not saved (-1: what it holds was read back).
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

    def dump(self) -> str:
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
            ]
        )

    @classmethod
    def load(cls, text: str) -> Binding | None:
        if not text:
            return None
        url, *rest = json.loads(text)
        # Credentials in it were written down by a version that is no more.
        return cls(instance_name(url), *rest)


IntentKind = Literal["observe", "learn", "settle", "verify", "clear_after_learn", "clear", "fence"]


@dataclass(frozen=True, slots=True)
class Intent:
    """The one changing call that is about to be sent, or whose outcome is not known yet.

    ``first`` and ``last`` are positions; ``time`` and ``stm_length`` KATO's before the call. For a learn,
    ``pattern`` is the name it must get and ``frequency`` how often KATO had it before (None: not read),
    ``again`` that it is sent a second time because the first left no trace. For an observe, ``again`` says that a
    gateway answered it: if it was not applied it is sent again, and that is nobody's attempt.

    Kinds that wait: ``settle``, the learn's KATO session was deleted and its frequency is to be read; ``verify``,
    the second learn was answered and its frequency is to be read; ``fence``, the bound KATO session is being
    deleted, so nobody may keep it any more.
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

    def dump(self) -> str:
        fields: dict[str, Any] = {
            "call": self.call,
            "kind": self.kind,
            "first": self.first,
            "last": self.last,
            "time": self.time,
            "stm_length": self.stm_length,
        }
        if self.kind != "observe":
            fields |= {"pattern": self.pattern, "frequency": self.frequency}
        if self.kind != "observe" or self.again:
            fields["again"] = self.again
        return ascii_dumps(fields)

    @classmethod
    def load(cls, text: str) -> Intent | None:
        if not text:
            return None
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)

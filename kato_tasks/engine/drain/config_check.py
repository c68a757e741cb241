"""Whether KATO takes the session config: asked of each instance once, at its first answer, and told in one sentence.

KATO drops a whole config silently for one value out of range, and ignores what it does not know. Lanes would then run
into that one by one, so before the first call to an instance a session is made there with the config, compared and
deleted. What came of it is shared by all workers; while KATO does not take it, every lane of the instance waits.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.kato_answers import address
from kato_tasks.errors import ConfigNotTaken, KatoError, KatoFailed, KatoRejected, KatoUnavailable
from kato_tasks.ports.effects import Step

NODE = "kato-tasks-probe"
"""No event ever comes to this node; a session alone leaves nothing there."""
TTL_SECONDS = 60
ASKING_SECONDS = 10.0
"""Whoever asks may take so long before somebody else asks, too."""
TAKEN_SECONDS = 86_400.0
NOT_TAKEN_SECONDS = 30.0
"""How long what KATO answered stands: another version of it, started the other way, may answer otherwise."""
VIEW_SECONDS = 10.0
"""How long a process relies on what it last saw of that; a tenth of it where KATO does not take the config."""


class Verdicts(Protocol):
    """What all workers share about one instance and one session config (by its digest)."""

    def verdict(self, url: str, digest: str) -> str | None:
        """Why KATO does not take it; '' when it does; None: nobody has asked."""
        ...

    def keep_verdict(self, url: str, digest: str, why: str, seconds: float) -> None: ...

    def told(self, url: str) -> str | None:
        """What was kept last of any config, if KATO did not take it."""
        ...

    def drop_verdict(self, url: str, digest: str) -> None: ...

    def may_ask(self, url: str, digest: str, seconds: float) -> bool:
        """True for one caller, until ``asked`` or for so long."""
        ...

    def asked(self, url: str, digest: str) -> None:
        """The caller has done so, or could not."""
        ...


class ConfigCheck:
    """One process's side of it. Thread-safe. Without a config of the user's there is nothing to ask."""

    def __init__(self, verdicts: Verdicts, own: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self._verdicts = verdicts
        self._own, self._config = dict(own), dict(config)
        self._digest = hashlib.sha256(json.dumps({**own, **config}, sort_keys=True).encode()).hexdigest()[:16]
        self._seen: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def verdict(self, url: str) -> str | None:
        """Why KATO does not take the config; '' when it does; None: nobody has asked yet."""
        if not self._config:
            return ""
        seen = self._seen.get(url)
        if seen is not None and time.monotonic() < seen[1]:
            return seen[0]
        why = self._verdicts.verdict(url, self._digest)
        if why is not None:
            self._saw(url, why)
        return why

    def told(self, url: str) -> str | None:
        """The same for whoever looks at it from outside, perhaps with other settings than the workers'."""
        return self._verdicts.told(url) or self.verdict(url)

    def forget(self, url: str) -> None:
        """KATO may be another one now: it is asked again."""
        if self._config:
            with self._lock:
                self._seen.pop(url, None)
            self._verdicts.drop_verdict(url, self._digest)

    def may_ask(self, url: str) -> bool:
        """Whether this caller asks KATO, with ``asked``."""
        return self._verdicts.may_ask(url, self._digest, ASKING_SECONDS)

    def asked(self, url: str) -> Step[str]:
        """Ask KATO, unless somebody has meanwhile. Raises KatoUnavailable when there was no answer to learn from."""
        try:
            known = self._verdicts.verdict(url, self._digest)
            if known is not None:
                self._saw(url, known)
                return known
            try:
                why = yield from not_taken(url, self._own, self._config)
            except KatoUnavailable:
                raise
            except KatoError as exc:
                raise KatoUnavailable(f"KATO at {address(url)} cannot be asked for a session now: {exc}") from exc
            self._verdicts.keep_verdict(url, self._digest, why, NOT_TAKEN_SECONDS if why else TAKEN_SECONDS)
            self._saw(url, why)
        finally:
            self._verdicts.asked(url, self._digest)
        return why

    def _saw(self, url: str, why: str) -> None:
        with self._lock:
            self._seen[url] = why, time.monotonic() + (VIEW_SECONDS / 10 if why else VIEW_SECONDS)


def taken(check: ConfigCheck, url: str) -> Step[bool]:
    """Return when KATO takes the session config; False: somebody else is asking it just now. Raises ConfigNotTaken."""
    why = check.verdict(url)
    if why is None:
        if not check.may_ask(url):
            return False
        why = yield from check.asked(url)
    if why:
        raise ConfigNotTaken(why)
    return True


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of one session config: how each key came back that was not as asked, or what KATO said instead."""

    other: Mapping[str, str]
    said: str = ""
    unfit: str = ""

    @property
    def taken(self) -> bool:
        return not self.other and not self.said and not self.unfit


def not_taken(url: str, own: Mapping[str, Any], config: Mapping[str, Any]) -> Step[str]:
    """Why KATO does not take ``config`` beside ``own``, naming the keys and the remedy; '' when it does."""
    whole = yield from _tried(url, {**own, **config})
    if whole.taken:
        return ""
    at = f"KATO at {address(url)}"
    alone = yield from _tried(url, own)
    if alone.said:
        # It makes no session at all: KATO is ill, and the config not to blame.
        raise KatoUnavailable(f"{at} makes no session: {alone.said}")
    if alone.unfit:
        return f"{at} cannot be used: {alone.unfit}"
    if not alone.taken:
        return f"{at} does not take {', '.join(alone.other)}, on which the protocol stands: another KATO is needed"
    culprits = []
    for name, value in config.items():
        tried = yield from _tried(url, {**own, name: value})
        if not tried.taken:
            culprits.append(f"{name} {_short(value)} ({_told(tried, name, own)})")
    if not culprits:
        culprits = [f"{', '.join(whole.other) or ', '.join(config)} together ({whole.said or 'each alone it does'})"]
    return (
        f"{at} does not take {' and '.join(culprits)}; mend KATO_TASKS_KATO_SESSION_CONFIG and restart the workers: "
        "until then its sessions wait, and nothing is lost"
    )


def _told(tried: _Tried, name: str, own: Mapping[str, Any]) -> str:
    if tried.said:
        return f"it says {tried.said}"
    if any(key in tried.other for key in own):
        return "out of range or of a wrong type, it drops the whole session config for it"
    return tried.other[name]


def _tried(url: str, config: Mapping[str, Any]) -> Step[_Tried]:
    try:
        kato_session, got = yield from kato_api.made_session(url, NODE, TTL_SECONDS, config)
    except (KatoRejected, KatoFailed) as exc:
        return _Tried({}, str(exc))
    yield from kato_api.delete_session(url, kato_session)
    other = {name: _came_back(got, name) for name in kato_api.not_as_asked(config, got)}
    return _Tried(other, unfit=kato_api.unfit_server(got))


def _came_back(got: Mapping[str, Any], name: str) -> str:
    return f"it makes {_short(got[name])} of it" if name in got else "it does not know the key"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

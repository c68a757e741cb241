"""Find out whether KATO takes the session config, once for each instance, and say so in one sentence.

KATO drops a whole config silently for one value out of range, and ignores what it does not know. So before the first
call to an instance a session is made there with the config, compared and deleted. The verdict is shared by all workers.
While KATO does not take the config, every lane of the instance waits.
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
from kato_tasks.engine.drain.kato_answers import strip_address
from kato_tasks.errors import ConfigNotTaken, KatoError, KatoFailed, KatoRejected, KatoUnavailable
from kato_tasks.ports.effects import Program

NODE = "kato-tasks-probe"
"""The node of these sessions. No event ever comes to it, and a session alone leaves nothing there."""
TTL_SECONDS = 60
ASKING_SECONDS = 10.0
"""How long one caller may take to ask before another one asks, too."""
TAKEN_SECONDS = 86_400.0
NOT_TAKEN_SECONDS = 30.0
"""How long a verdict stands. Another version of KATO, or one that was started otherwise, may answer otherwise."""
VIEW_SECONDS = 10.0
"""How long a process relies on the verdict that it last saw; a tenth of it where KATO does not take the config."""


class Verdicts(Protocol):
    """The verdicts that all workers share, each about one instance (``url``) and one session config (``digest``)."""

    def read_verdict(self, url: str, digest: str) -> str | None:
        """Return why KATO does not take the config; '' where it does; None where it was not asked."""
        ...

    def keep_verdict(self, url: str, digest: str, why: str, seconds: float) -> None:
        """Keep a verdict for ``seconds``."""
        ...

    def read_refusal(self, url: str) -> str | None:
        """Return the last verdict about any config of this instance, where KATO did not take it; else None."""
        ...

    def drop_verdict(self, url: str, digest: str) -> None:
        """Forget a verdict, so that KATO is asked again."""
        ...

    def may_ask(self, url: str, digest: str, seconds: float) -> bool:
        """Return True for one caller, until that one calls ``end_asking`` or ``seconds`` have passed."""
        ...

    def end_asking(self, url: str, digest: str) -> None:
        """Record that the caller has asked, or could not."""
        ...


class ConfigCheck:
    """One process's view of the verdicts. Thread-safe. Without a config of the application's KATO is not asked."""

    def __init__(self, verdicts: Verdicts, own: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self._verdicts = verdicts
        self._own, self._config = dict(own), dict(config)
        self._digest = hashlib.sha256(json.dumps({**own, **config}, sort_keys=True).encode()).hexdigest()[:16]
        self._seen: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def read_verdict(self, url: str) -> str | None:
        """Return why KATO does not take the config; '' where it does; None where it was not asked yet."""
        if not self._config:
            return ""
        seen = self._seen.get(url)
        if seen is not None and time.monotonic() < seen[1]:
            return seen[0]
        why = self._verdicts.read_verdict(url, self._digest)
        if why is not None:
            self._saw(url, why)
        return why

    def read_refusal(self, url: str) -> str | None:
        """Return the same for ``status`` and its like, whose settings may differ from the workers'."""
        return self._verdicts.read_refusal(url) or self.read_verdict(url)

    def forget(self, url: str) -> None:
        """Forget the verdict: another KATO may answer now, so it is asked again."""
        if self._config:
            with self._lock:
                self._seen.pop(url, None)
            self._verdicts.drop_verdict(url, self._digest)

    def may_ask(self, url: str) -> bool:
        """Return whether this caller is the one to ask KATO, with ``ask``."""
        return self._verdicts.may_ask(url, self._digest, ASKING_SECONDS)

    def ask(self, url: str) -> Program[str]:
        """Ask KATO, unless another caller has meanwhile, and return the verdict ('' where KATO takes the config).

        Raises KatoUnavailable where KATO gave no answer that tells.
        """
        try:
            known = self._verdicts.read_verdict(url, self._digest)
            if known is not None:
                self._saw(url, known)
                return known
            try:
                why = yield from find_refused_config(url, self._own, self._config)
            except KatoUnavailable:
                raise
            except KatoError as exc:
                raise KatoUnavailable(f"KATO at {strip_address(url)} cannot be asked for a session now: {exc}") from exc
            self._verdicts.keep_verdict(url, self._digest, why, NOT_TAKEN_SECONDS if why else TAKEN_SECONDS)
            self._saw(url, why)
        finally:
            self._verdicts.end_asking(url, self._digest)
        return why

    def _saw(self, url: str, why: str) -> None:
        with self._lock:
            self._seen[url] = why, time.monotonic() + (VIEW_SECONDS / 10 if why else VIEW_SECONDS)


def ensure_config_taken(check: ConfigCheck, url: str) -> Program[bool]:
    """Return True once KATO takes the session config; False while another caller asks it. Raises ConfigNotTaken."""
    why = check.read_verdict(url)
    if why is None:
        if not check.may_ask(url):
            return False
        why = yield from check.ask(url)
    if why:
        raise ConfigNotTaken(why)
    return True


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of one session config: how each key came back that was not as asked, or what KATO said instead.

    ``unfit`` says why the server cannot be used at all.
    """

    other: Mapping[str, str]
    said: str = ""
    unfit: str = ""

    @property
    def taken(self) -> bool:
        return not self.other and not self.said and not self.unfit


def find_refused_config(url: str, own: Mapping[str, Any], config: Mapping[str, Any]) -> Program[str]:
    """Return why KATO does not take ``config`` beside ``own``, with the keys and the remedy; '' where it does.

    Raises KatoUnavailable where KATO makes no session at all.
    """
    whole = yield from _try(url, {**own, **config})
    if whole.taken:
        return ""
    at = f"KATO at {strip_address(url)}"
    alone = yield from _try(url, own)
    if alone.said:
        # KATO makes no session at all: it is ill, and the config is not to blame.
        raise KatoUnavailable(f"{at} makes no session: {alone.said}")
    if alone.unfit:
        return f"{at} cannot be used: {alone.unfit}"
    if not alone.taken:
        return f"{at} does not take {', '.join(alone.other)}, on which the protocol stands: another KATO is needed"
    culprits = []
    for name, value in config.items():
        tried = yield from _try(url, {**own, name: value})
        if not tried.taken:
            culprits.append(f"{name} {_short(value)} ({_told(tried, name, own)})")
    if not culprits:
        alone_taken = "each of them alone is taken"
        culprits = [f"{', '.join(whole.other) or ', '.join(config)} together ({whole.said or alone_taken})"]
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


def _try(url: str, config: Mapping[str, Any]) -> Program[_Tried]:
    try:
        kato_session, got = yield from kato_api.make_session(url, NODE, TTL_SECONDS, config)
    except (KatoRejected, KatoFailed) as exc:
        return _Tried({}, str(exc))
    yield from kato_api.delete_session(url, kato_session)
    other = {name: _came_back(got, name) for name in kato_api.find_changed_keys(config, got)}
    return _Tried(other, unfit=kato_api.find_server_fault(got))


def _came_back(got: Mapping[str, Any], name: str) -> str:
    return f"it makes {_short(got[name])} of it" if name in got else "it does not know the key"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

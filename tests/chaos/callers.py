"""The application: callers that send events, repeat what raised, and remember what was acknowledged."""

import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.errors import KatoTasksError
from tests.chaos.story import Author, Session

GIVE_UP_SECONDS = 90.0
ASKED = 0.15
"""After this share of its single calls a caller asks for a prediction of the same session."""
BULK = 60
"""Events in one bulk append at most."""


@dataclass(slots=True)
class Record:
    """What one caller knows. Only acknowledged events may be missed later."""

    attempted: dict[str, list[str]] = field(default_factory=dict)
    """session → event ids in the order in which they were sent"""
    acknowledged: set[str] = field(default_factory=set)
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    """task id → session, event id"""
    predicts: dict[str, tuple[str, int]] = field(default_factory=dict)
    """task id of a predict → session, and how many of its events had been accepted before"""
    raised: dict[str, int] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    """tracebacks of what is none of our own errors"""
    given_up: set[str] = field(default_factory=set)


class Caller(threading.Thread):
    """One of the callers: sends its sessions' events at its share of the pace. A session has one caller."""

    def __init__(
        self, seed: int, number: int, sessions: list[Session], *, events: int, seconds: float, delay_share: float
    ) -> None:
        super().__init__(name=f"caller-{number}", daemon=True)
        self.author = Author(seed, number, sessions)
        self.sessions = sessions
        self.record = Record()
        self.failure: BaseException | None = None
        self._events = events
        self._seconds = seconds
        # A bulk append has so many events on average that few of the calls are single ones.
        mean = (2 + BULK) / 2
        self._single_calls = mean * delay_share / (1 - delay_share + mean * delay_share)

    def run(self) -> None:
        try:
            self._send_all()
        except BaseException as exc:
            self.failure = exc

    def _send_all(self) -> None:
        begin, sent = time.monotonic(), 0
        while sent < self._events:
            due = begin + self._seconds * sent / self._events
            time.sleep(max(0.0, due - time.monotonic()))
            if self.author.chance(self._single_calls):
                (session,) = self.author.pick(1)
                sent += self._send_one(self.author.next_event(session))
                if self.author.chance(ASKED):
                    self._ask(session)
                continue
            chosen = self.author.pick(min(self.author.batch(BULK), self._events - sent))
            sent += self._send_bulk([self.author.next_event(session) for session in chosen])

    def close_sessions(self, each: int = 1) -> None:
        """The last event, or events, of every session."""
        for start in range(0, len(self.sessions), 200):
            chosen = self.sessions[start : start + 200]
            self._send_bulk([self.author.closing_event(session) for session in chosen for _ in range(each)])

    def _send_bulk(self, events: list[dict[str, Any]]) -> int:
        from kato_tasks import append_events

        if self._until_it_works(events, lambda: append_events(events)):
            self.record.acknowledged.update(event["event_id"] for event in events)
        return len(events)

    def _send_one(self, event: dict[str, Any]) -> int:
        from kato_tasks import clear_stm, learn, process_observation_async

        session, event_id, kind = event["session_id"], event["event_id"], event["event_type"]

        def call() -> Any:
            if kind == "learn":
                return learn.delay(session, event_id=event_id)
            if kind == "clear_stm":
                return clear_stm.delay(session, event_id=event_id)
            node = event.get("node_id")
            return process_observation_async.delay(session, event["observation"], node_id=node, event_id=event_id)

        result = self._until_it_works([event], call)
        if result:
            self.record.acknowledged.add(event_id)
            self.record.tasks[result.id] = (session, event_id)
        return 1

    def _ask(self, session: Session) -> None:
        from kato_tasks import predict

        result = self._until_it_works([], lambda: predict.delay(session.id))
        if result and not self.record.given_up:
            # A session has one caller, and every call of it so far was accepted.
            self.record.predicts[result.id] = (session.id, self.author.written(session))

    def _until_it_works(self, events: list[dict[str, Any]], call: Any) -> Any:
        """Repeat a call that raised, with the same event ids, until it is acknowledged."""
        for event in events:
            self.record.attempted.setdefault(event["session_id"], []).append(event["event_id"])
        stop = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return call()
            except Exception as exc:
                name = type(exc).__name__
                if not isinstance(exc, KatoTasksError):
                    self.record.surprises.append("".join(traceback.format_exception(exc))[-3000:])
                self.record.raised[name] = self.record.raised.get(name, 0) + 1
                if time.monotonic() > stop:
                    self.record.given_up.update(event["event_id"] for event in events)
                    return None
                time.sleep(0.2)

"""What observing, learning and predicting do to a session and its node."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Any

from kato_tasks.embedded.kato.answers import ServerError, has_utf8
from kato_tasks.embedded.kato.bodies import Observation, Sequence
from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.patterns import Event
from kato_tasks.embedded.kato.predicting import Memo, Predicted, Wanted
from kato_tasks.embedded.kato.sessions import Node, Percept, Session
from kato_tasks.embedded.kato.vectors import NodeVectors, Vectors

STM_LIMIT = 1000
LONGEST_STRING = 1_000_000


class Brain:
    """KATO's processing; it counts what it did."""

    def __init__(self, visible_after: float, ranking: str, changes: Changes | None = None) -> None:
        self.changes = changes
        self.visible_after = visible_after
        self.ranking = ranking
        self.clickhouse_up = True
        self.saving = True
        """False is KATO's silent failure: all is computed and answered, and the session stays as it was."""
        self.memo = Memo()
        self.vectors = Vectors(None if changes is None else changes.vectors)
        self.observes = self.learns = self.predictions = 0

    def observe(self, session: Session, observation: Observation) -> Observed:
        """Apply one observation; raises `ServerError` with the session as it was."""
        results, _, _ = self._apply(session, Sequence([observation], False, False, False), "obs-")
        length, now, unique_id, learned = results[0]
        return min(length, STM_LIMIT), now, unique_id, learned

    def sequence(self, session: Session, sequence: Sequence) -> tuple[list[Observed], list[str], str | None]:
        """Apply a whole sequence: what each did, the patterns learned, and the one learned at the end.

        The session is saved once, at the end; patterns learned on the way stay learned if it fails. Only then is
        its STM cut to the newest 1000 events: until there it grows, and is counted, beyond them.
        """
        return self._apply(session, sequence, "seq-obs-")

    def _apply(self, session: Session, sequence: Sequence, prefix: str) -> tuple[list[Observed], list[str], str | None]:
        draft = _Draft(session, self.vectors.of(session.node.key))
        predicting = session.setting("process_predictions")
        limit = session.setting("max_pattern_length")
        results: list[Observed] = []
        learned: list[str] = []
        if self.changes is not None and any(observation.vectors for observation in sequence.observations):
            self.changes.vectors.add(session.node.key)
        for index, observation in enumerate(sequence.observations):
            if sequence.clear_stm_between and index:
                draft.stm = []
            grown = draft.observe(observation)
            draft.predictions = "[]"
            if predicting and (observation.strings or observation.vectors):
                # KATO looks at nothing of the session's configuration here.
                draft.predictions = self._predict(session.node, draft.stm, Wanted(ranking=self.ranking)).predictions
            auto = None
            if limit and grown and len(draft.stm) >= limit:
                auto = self._learn_by_itself(session, draft, limit)
            if sequence.learn_after_each and draft.stm:
                learned.append(self._learn_draft(session, draft))
            if auto:
                learned.append(auto)
            unique_id = observation.unique_id or prefix + uuid.uuid4().hex
            results.append((len(draft.stm), draft.time, unique_id, auto))
        final = None
        if sequence.learn_at_end and draft.stm and results:
            # The one learn whose failure KATO keeps to itself: the pattern may be counted, and the STM stays.
            with suppress(ServerError):
                final = self._learn_draft(session, draft)
                learned.append(final)
        if self.saving and results:
            draft.save([result[2] for result in results])
            self.observes += len(results)
        return results, learned, final

    def _learn_draft(self, session: Session, draft: _Draft) -> str:
        name = self._learn(session, draft.stm, draft.emotives, draft.said)
        draft.stm = []
        return name

    def _learn_by_itself(self, session: Session, draft: _Draft, limit: float) -> str | None:
        kept: list[Event] = []
        if session.setting("stm_mode") == "ROLLING" and len(draft.stm) > 1:
            if not isinstance(limit, int):
                raise ServerError("the window would be cut at a place that is no whole number")
            # With a limit of 1 the window is of 0 events, and KATO's slice from -0 keeps them all.
            kept = draft.stm[-(limit - 1) :]
        # Patterns learned this way store no emotives.
        name = self._learn(session, draft.stm, [], [])
        draft.stm = kept
        return name or None

    def learn(self, session: Session) -> str:
        """Learn the STM, which is then empty. Emotives and metadata stay: they leak into the next pattern."""
        name = self._learn(session, session.stm, session.emotives, session.said)
        if self.saving:
            session.stm = []
            session.saved(time.time())
        return name

    def forget(self, node: Node) -> None:
        """Drop all that the node learned, but what is on its way."""
        node.patterns.clear()
        self.vectors.of(node.key).forget_unlearned()
        if self.changes is not None:
            self.changes.nodes.add(node)
            self.changes.vectors.add(node.key)

    def clear(self, session: Session) -> None:
        """Empty the STM and all that goes with it; time starts again at 0."""
        if self.saving:
            session.clear()
            session.saved(time.time())

    def predict(self, session: Session) -> Predicted:
        """What the node's patterns say of the session's STM."""
        self.predictions += 1
        self.vectors.of(session.node.key)
        wanted = Wanted.of(session.setting, session.setting("recall_threshold"), self.ranking)
        return self._predict(session.node, session.stm, wanted)

    def note_patterns(self, node: Node) -> None:
        """All patterns of the node have another state than the one that is written down."""
        if self.changes is not None and node.patterns.changed is not None:
            self.changes.nodes.add(node)
            node.patterns.changed.update(node.patterns.names())

    def show(self, node: Node, *, everything: bool = False) -> None:
        """Make new patterns of `node` visible that are due, or all of them."""
        node.patterns.show(float("inf") if everything else time.monotonic())

    def _predict(self, node: Node, stm: list[Event], wanted: Wanted) -> Predicted:
        if not stm:
            # KATO answers the futures that somebody's last prediction on the node left behind.
            return Predicted("[]", node.futures, 0)
        quoted = "'" in node.key
        if len(stm) == 1 and len(stm[0]) == 1:
            symbol = stm[0][0]
            if quoted or "'" in symbol or symbol.endswith("\\"):
                raise ServerError("the symbol and the node's name go into SQL as they are")
            if not has_utf8(symbol):
                raise ServerError("the symbol goes into SQL, and half of a surrogate pair cannot be sent")
        elif quoted:
            # Here KATO takes the failed query for one without a row.
            return Predicted("[]", "[]", 0)
        if not self.clickhouse_up:
            raise ServerError("ClickHouse is down")
        self.show(node)
        predicted = self.memo.predict(node.key, node.patterns, stm, wanted)
        if predicted.futures is None:
            return predicted._replace(futures=node.futures)
        node.futures = predicted.futures
        return predicted

    def _learn(
        self,
        session: Session,
        stm: list[Event],
        emotives: list[dict[str, float]],
        said: list[dict[str, Any]],
    ) -> str:
        self.vectors.of(session.node.key).learn()
        if self.changes is not None:
            # Now: a learn that fails may have counted.
            self.changes.nodes.add(session.node)
            self.changes.vectors.add(session.node.key)
        patterns = session.node.patterns
        now = time.monotonic()
        patterns.show(now)
        name = patterns.learn(
            stm,
            emotives,
            said,
            visible_at=now + self.visible_after,
            stored=self.clickhouse_up,
        )
        self.learns += bool(name)
        return name


class _Draft:
    """A session's state while observations are applied to it: saved whole at the end, or not at all."""

    __slots__ = ("_last", "_session", "_vectors", "emotives", "predictions", "said", "stm", "time")

    def __init__(self, session: Session, vectors: NodeVectors) -> None:
        self._session = session
        self._vectors = vectors
        self._last: Observation | None = None
        self.stm = session.stm.copy()
        self.time = session.time
        self.emotives = session.emotives.copy()
        self.said = session.said.copy()
        self.predictions = session.predictions

    def observe(self, observation: Observation) -> bool:
        """Take one observation in; answers whether it made an event."""
        # A vector is there for the node's next learn even if this call fails later.
        seen = self._vectors.observe(observation.vectors) if observation.vectors else []
        event = seen + _strings(observation.strings)
        self._last = observation
        self.time += 1
        if event:
            self.stm.append(event)
        if observation.emotives:
            self.emotives.append(observation.emotives)
        if observation.metadata:
            self.said.append(observation.metadata)
        return bool(event)

    def save(self, unique_ids: list[str]) -> None:
        session, last = self._session, self._last
        session.stm, session.time = self.stm[-STM_LIMIT:], self.time
        session.emotives, session.said = self.emotives[-STM_LIMIT:], self.said[-STM_LIMIT:]
        session.predictions = self.predictions
        if last is not None:
            session.percept = Percept(last, self.emotives)
        session.saved(time.time())
        session.history.extend(unique_ids)
        session.node.write_down(session.id, unique_ids)


Observed = tuple[int, int, str, str | None]
"""STM length, time, unique id, and the pattern that was learned by itself."""


def _strings(strings: list[str]) -> Event:
    # KATO accepts `sort_symbols: false`, echoes it, and sorts all the same.
    for string in strings:
        if len(string) >= LONGEST_STRING:
            raise ServerError("KATO freezes for 40 s on such a string, then fails")
    return sorted(strings)

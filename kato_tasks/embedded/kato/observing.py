"""Carry out observations, learns and predictions on a session and its node."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Any

from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.patterns import Event
from kato_tasks.embedded.kato.predicting import Memo, Predicted, PredictionOptions
from kato_tasks.embedded.kato.sessions import Node, Percept, Session
from kato_tasks.embedded.kato.vectors import NodeVectors, Vectors
from kato_tasks.kato_wire.answers import ServerError, has_utf8
from kato_tasks.kato_wire.bodies import Observation, Sequence

STM_LIMIT = 1000
LONGEST_STRING = 1_000_000


class Brain:
    """Represents KATO's processing. It counts the observations, learns and predictions that it carries out."""

    def __init__(self, visible_after: float, ranking: str, changes: Changes | None = None) -> None:
        self.changes = changes
        self.visible_after = visible_after
        self.ranking = ranking
        self.clickhouse_up = True
        self.saving = True
        """If False, KATO fails silently: everything is computed and answered, but the session stays as it was."""
        self.memo = Memo()
        self.vectors = Vectors(None if changes is None else changes.vectors)
        self.observes = self.learns = self.predictions = 0

    def observe(self, session: Session, observation: Observation) -> Observed:
        """Apply one observation, and return what it did. Raises ``ServerError``; the session then stays as it was."""
        results, _, _ = self._apply(session, Sequence([observation], False, False, False), "obs-")
        length, now, unique_id, learned = results[0]
        return min(length, STM_LIMIT), now, unique_id, learned

    def sequence(self, session: Session, sequence: Sequence) -> tuple[list[Observed], list[str], str | None]:
        """Apply a whole sequence.

        Returns what each observation did, the names of all learned patterns, and the name of the pattern that was
        learned at the end (or None).

        The session is saved once, at the end. If the sequence fails, patterns that were learned on the way stay
        learned. The STM is cut to its newest 1000 events only when it is saved. Until then it grows beyond that, as the
        returned lengths show.
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
                # KATO ignores the session's configuration here.
                draft.predictions = self._predict(
                    session.node, draft.stm, PredictionOptions(ranking=self.ranking)
                ).predictions
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
            # This is the one learn whose failure KATO does not report: the pattern may be counted, and the STM stays.
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
            # With a limit of 1 the window should have 0 events, but KATO's slice from -0 keeps them all.
            kept = draft.stm[-(limit - 1) :]
        # Patterns learned this way store no emotives.
        name = self._learn(session, draft.stm, [], [])
        draft.stm = kept
        return name or None

    def learn(self, session: Session) -> str:
        """Learn the STM, which is empty afterwards, and return the pattern's name.

        Emotives and metadata stay, so they leak into the next pattern.
        """
        name = self._learn(session, session.stm, session.emotives, session.said)
        if self.saving:
            session.stm = []
            session.saved(time.time())
        return name

    def forget(self, node: Node) -> None:
        """Forget everything that the node learned, except patterns that are not visible yet."""
        node.patterns.clear()
        self.vectors.of(node.key).forget_unlearned()
        if self.changes is not None:
            self.changes.nodes.add(node)
            self.changes.vectors.add(node.key)

    def clear(self, session: Session) -> None:
        """Empty the STM and everything that belongs to it. The session's time starts again at 0."""
        if self.saving:
            session.clear()
            session.saved(time.time())

    def predict(self, session: Session) -> Predicted:
        """Return what the node's patterns predict for the session's STM. Raises ``ServerError`` if KATO would fail."""
        self.predictions += 1
        self.vectors.of(session.node.key)
        options = PredictionOptions.of(session.setting, session.setting("recall_threshold"), self.ranking)
        return self._predict(session.node, session.stm, options)

    def note_patterns(self, node: Node) -> None:
        """Note that all patterns of the node differ from what is written down."""
        if self.changes is not None and node.patterns.changed is not None:
            self.changes.nodes.add(node)
            node.patterns.changed.update(node.patterns.names())

    def show(self, node: Node, *, everything: bool = False) -> None:
        """Make the new patterns of ``node`` visible that are due, or with ``everything`` all of them."""
        node.patterns.show(float("inf") if everything else time.monotonic())

    def _predict(self, node: Node, stm: list[Event], options: PredictionOptions) -> Predicted:
        if not stm:
            # KATO answers with the futures that the last prediction on the node left behind, of whichever session.
            return Predicted("[]", node.futures, 0)
        quoted = "'" in node.key
        if len(stm) == 1 and len(stm[0]) == 1:
            symbol = stm[0][0]
            if quoted or "'" in symbol or symbol.endswith("\\"):
                raise ServerError("the symbol and the node's name go into SQL as they are")
            if not has_utf8(symbol):
                raise ServerError("the symbol goes into SQL, and half of a surrogate pair cannot be sent")
        elif quoted:
            # Here KATO treats the failed query as one that found no row.
            return Predicted("[]", "[]", 0)
        if not self.clickhouse_up:
            raise ServerError("ClickHouse is down")
        self.show(node)
        predicted = self.memo.predict(node.key, node.patterns, stm, options)
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
            # This is noted before the learn, because a learn that fails may have counted.
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
    """Holds a session's state while observations are applied to it. It is saved whole at the end, or not at all."""

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
        """Take in one observation, and return whether it made an event."""
        # The node's next learn takes up the vectors even if this call fails later.
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
"""The STM's length, the session's time, the unique id, and the pattern that KATO learned by itself (or None)."""


def _strings(strings: list[str]) -> Event:
    # KATO accepts `sort_symbols: false`, echoes it, and sorts all the same.
    for string in strings:
        if len(string) >= LONGEST_STRING:
            raise ServerError("KATO freezes for 40 s on such a string, then fails")
    return sorted(strings)

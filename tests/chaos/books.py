"""The judgement: what callers had acknowledged, what the logs hold, what KATO holds, what the oracle says."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kato_tasks.adapters.redis.keys import BINDING_FIELDS, prefix, text_in
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from tests.chaos.callers import Record
from tests.chaos.frequencies import Frequencies, Learn, compare, partition_stats
from tests.chaos.mischief import Loss
from tests.chaos.oracle import STM_CAP, Held, fits, held_after, vector_symbols
from tests.chaos.views import Views

EVIDENCE = 40


@dataclass(slots=True)
class SessionBooks:
    """One session as the store and KATO have it at the end."""

    id: str
    lane: str
    node: str
    cursor: int
    head: int
    parked: dict[str, Any] | None
    events: list[dict[str, Any]]
    dead: set[int]
    binding: Binding | None
    commit_ms: dict[int, int]
    """position → when it was committed"""

    @property
    def applied(self) -> list[dict[str, Any]]:
        return [e for e in self.events[: self.cursor] if e["position"] not in self.dead]


@dataclass(slots=True)
class Verdict:
    attempted: int = 0
    acknowledged: int = 0
    applied: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    overlapped: int = 0
    stm_mismatches: int = 0
    frequency_mismatches: int = 0
    late_landings: int = 0
    parked: int = 0
    parked_unapplied: int = 0
    dead_letters: int = 0
    unexpected_dead_letters: int = 0
    asks_left: int = 0
    """predicts that nobody has answered, though their sessions have nothing else to do"""
    predicts_wrong: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    frequencies: Frequencies = field(default_factory=Frequencies)
    evidence: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.evidence) < EVIDENCE:
            self.evidence.append(text)

    @property
    def violations(self) -> dict[str, int]:
        names = (
            "lost",
            "duplicated",
            "reordered",
            "overlapped",
            "stm_mismatches",
            "frequency_mismatches",
            "unexpected_dead_letters",
            "asks_left",
            "predicts_wrong",
        )
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def read_sessions(rig: Views, sessions: Iterable[tuple[str, str]]) -> list[SessionBooks]:
    """Everything the store knows of (session, node) pairs."""
    out = []
    dead: dict[int, dict[str, str]] = {}
    orders: dict[str, list[str]] = {}
    for session, node in sessions:
        lane = lane_of(node)
        partition = partition_of(lane)
        p = prefix(partition)
        pipe = rig.view.pipeline(transaction=False)
        pipe.hgetall(f"{p}s:{session}")
        pipe.lrange(f"{p}log:{session}", 0, -1)
        state, log = pipe.execute()
        if partition not in dead:
            dead[partition] = rig.view.hgetall(f"{p}dead")  # type: ignore[assignment]
        if lane not in orders:
            orders[lane] = rig.view.lrange(f"{p}order:{lane}", 0, -1)  # type: ignore[assignment]
        out.append(
            SessionBooks(
                id=session,
                lane=lane,
                node=node,
                cursor=int(state.get("cur", 0)),
                head=int(state.get("head", 0)),
                parked=json.loads(state["pk"]) if "pk" in state else None,
                events=[Logged.parse(i + 1, text).event(session, node) for i, text in enumerate(log)],
                dead=_dead_positions(dead[partition], session),
                binding=Binding.load(text_in(state, BINDING_FIELDS)),
                commit_ms=_commits(orders[lane], session),
            )
        )
    return out


def _dead_positions(letters: dict[str, str], session: str) -> set[int]:
    own = (key.rsplit("\n", 1) for key in letters)
    return {int(parts[1]) for parts in own if len(parts) == 2 and parts[0] == session and parts[1].isdigit()}


def _commits(order: list[str], session: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for text in order:
        numbers, owner = text.split("\n", 1)
        if owner == session:
            # Dead letters have a fifth part.
            _, first, last, ms = (int(part) for part in numbers.split(" ")[:4])
            found.update((position, ms) for position in range(first, last + 1))
    return found


def judge(
    rig: Views, records: list[Record], sessions: list[SessionBooks], losses: list[Loss], kills: Sequence[int] = ()
) -> Verdict:
    verdict = Verdict()
    names = vector_symbols(rig.ask, f"names {rig.tag}", (vectors for s in sessions for vectors in _vectors(s)))
    attempted = {session: ids for record in records for session, ids in record.attempted.items()}
    acknowledged = set().union(*(record.acknowledged for record in records))
    verdict.attempted = sum(map(len, attempted.values()))
    verdict.acknowledged = len(acknowledged)
    oracles = {session.id: held_after(session.applied, names) for session in sessions}
    symbols: dict[str, set[str]] = {session.node: set() for session in sessions}
    for session in sessions:
        symbols[session.node] |= oracles[session.id].symbols
    for session in sessions:
        verdict.applied += session.cursor
        judge_log(verdict, session, attempted.get(session.id, []), acknowledged)
        _judge_kato(rig, verdict, session, oracles[session.id], symbols[session.node])
        _judge_dead(verdict, session, names)
        if session.parked is not None:
            verdict.parked += 1
            verdict.parked_unapplied += session.head - session.cursor
            verdict.note(f"parked {session.id!r}: {session.parked}")
    learns = [
        Learn(session.id, session.node, position, name, session.commit_ms.get(position, 0), held.contents[name])
        for session in sessions
        for held in (oracles[session.id],)
        for position, name in held.patterns
    ]
    verdict.frequencies = compare(rig, symbols, learns, losses, kills)
    verdict.frequency_mismatches = verdict.frequencies.mismatches
    for wrong in verdict.frequencies.wrong:
        verdict.note(wrong)
    stats = rig.stats()
    verdict.overlapped = int(stats["overlaps"])
    for met in stats.get("overlapped", ()):
        verdict.note(f"overlap on {met}")
    verdict.late_landings = int(stats["late_landings"])
    verdict.counters = dict(_counters(rig))
    return verdict


def _vectors(session: SessionBooks) -> Iterable[list[list[float]]]:
    return (e["observation"].get("vectors") or [] for e in session.events if e["event_type"] == "observation")


def judge_log(verdict: Verdict, session: SessionBooks, sent: list[str], acknowledged: set[str]) -> None:
    """The log holds what was acknowledged, once, in the caller's order."""
    logged = [event["event_id"] for event in session.events]
    known = set(logged)
    missing = [i for i in sent if i in acknowledged and i not in known]
    repeated = len(logged) - len(known)
    rank = {event_id: index for index, event_id in enumerate(sent)}
    order = [rank[i] for i in logged if i in rank]
    inverted = sum(later < earlier for earlier, later in pairwise(order))
    unapplied = session.head - session.cursor if session.parked is None else 0
    verdict.lost += len(missing) + unapplied
    verdict.duplicated += repeated
    verdict.reordered += inverted
    if missing or repeated or inverted or unapplied:
        verdict.note(
            f"log of {session.id!r}: acknowledged and missing {missing[:3]}, repeated {repeated}, inverted {inverted},"
            f" not applied {unapplied} (cursor {session.cursor}, head {session.head})"
        )


def _judge_kato(rig: Views, verdict: Verdict, session: SessionBooks, oracle: Held, symbols: set[str]) -> None:
    """The bound KATO session holds what the oracle holds; a rebuilt one observed events again, which is its purpose."""
    binding = session.binding
    seen = rig.kato_session(binding.kato_session) if binding is not None else None
    if seen is None or not seen["alive"]:
        if oracle.stm:
            verdict.stm_mismatches += 1
            verdict.lost += len(oracle.since_mark)
            verdict.note(f"{session.id!r} has no live KATO session, and its STM should have {len(oracle.stm)} events")
        return
    if not fits(seen["stm"], oracle.stm, symbols):
        verdict.stm_mismatches += 1
        at = next(
            (i for i, (a, b) in enumerate(zip(seen["stm"], oracle.stm, strict=False)) if not fits([a], [b], symbols)),
            min(len(seen["stm"]), len(oracle.stm)),
        )
        verdict.note(
            f"STM of {session.id!r} (bound {binding}):"
            f" {len(seen['stm'])} events, oracle {len(oracle.stm)}, differ from {at} on:"
            f" {seen['stm'][at : at + 3]} / {oracle.stm[at : at + 3]}"
        )
    judge_history(verdict, session, oracle, seen["applied"])


def judge_history(verdict: Verdict, session: SessionBooks, oracle: Held, history: list[str]) -> None:
    position = {e["event_id"]: e["position"] for e in session.events if e["event_type"] == "observation"}
    counts = Counter(history)
    repeated = sum(n - 1 for n in counts.values())
    foreign = [i for i in counts if i not in position]
    places = [position[i] for i in history if i in position]
    inverted = sum(later < earlier for earlier, later in pairwise(places))
    # A rebuild leaves out what KATO's caps of 1000 no longer hold; the STM was compared whole.
    missing = [] if len(oracle.since_mark) > STM_CAP else [i for i in oracle.since_mark if i not in counts]
    verdict.duplicated += repeated + len(foreign)
    verdict.reordered += inverted
    verdict.lost += len(missing)
    if repeated or foreign or inverted or missing:
        twice = [i for i, n in counts.items() if n > 1]
        verdict.note(
            f"KATO session of {session.id!r}: twice {twice[:3]} ({repeated}), foreign {foreign[:3]},"
            f" inverted {inverted}, missing {missing[:3]} ({len(missing)})"
        )


def _judge_dead(verdict: Verdict, session: SessionBooks, names: Mapping[str, list[str]]) -> None:
    """Only a learn of an empty STM is refused in this story."""
    verdict.dead_letters += len(session.dead)
    expected = set(held_after(session.events[: session.cursor], names).empty_learns)
    unexpected = session.dead - expected
    verdict.unexpected_dead_letters += len(unexpected)
    for place in sorted(unexpected)[:3]:
        letter = rig_letter = session.events[place - 1]
        verdict.note(f"dead letter of {session.id!r} at {place}: {letter['event_type']} {rig_letter['event_id']}")


def _counters(rig: Views) -> Counter[str]:
    total: Counter[str] = Counter()
    for counted in partition_stats(rig):
        total.update({name: int(value) for name, value in counted.items()})
    return total

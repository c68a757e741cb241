"""How often KATO counts each pattern, against how often the log learned it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from tests.chaos.mischief import Loss
from tests.chaos.oracle import fits, is_vector, shape
from tests.chaos.views import Views

LONE_VECTORS = shape([["VCTR|"]])
ROW_MS = 1_000
"""KATO answers a learn before it has written the pattern's row; a kill so soon after it takes the row along."""


@dataclass(frozen=True, slots=True)
class Learn:
    """One learn of the log: what the oracle says it made, and when it was committed."""

    session: str
    node: str
    position: int
    pattern: str
    commit_ms: int
    content: list[list[str]]

    @property
    def key(self) -> str:
        return key_of(self.pattern, self.content)


@dataclass(slots=True)
class Frequencies:
    """``excused``: by how much counts differ that the counted unknown learns of their partition account for."""

    learns: int = 0
    patterns: int = 0
    mismatches: int = 0
    excused: int = 0
    unsure: int = 0
    """patterns learned at the very moment of a loss of KATO's: a range is right"""
    lone_vectors: int = 0
    """patterns of one event of vectors alone: with a learned vector's symbol it is one, without it is none"""
    rows_lost: list[str] = field(default_factory=list)
    """patterns that a killed KATO had answered for and not yet written"""
    differing: list[str] = field(default_factory=list)
    """every pattern whose count is not the oracle's, excused or not"""
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """A pattern, or those that differ in nothing but in what KATO added for their vectors."""

    have: int = 0
    low: int = 0
    more: int = 0
    contents: list[list[list[str]]] = field(default_factory=list)
    """by the oracle"""
    seen: list[tuple[str, list[list[str]] | None]] = field(default_factory=list)
    """at KATO"""
    learned_ms: list[int] = field(default_factory=list)


def has_vectors(key: str) -> bool:
    """Whether a key of ``key_of`` is the shape of a pattern with vectors."""
    return not key.startswith("PTRN|")


def key_of(name: str, content: list[list[str]] | None) -> str:
    if content is None or not any(is_vector(symbol) for event in content for symbol in event):
        return name
    return shape(content)


def partition_stats(rig: Views) -> list[dict[str, str]]:
    pipe = rig.view.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.hgetall(f"{prefix(partition)}stats")
    rows: list[dict[str, str]] = pipe.execute()
    return rows


def compare(
    rig: Views, symbols: Mapping[str, set[str]], learns: Iterable[Learn], losses: list[Loss], kills: Sequence[int] = ()
) -> Frequencies:
    """Each node's patterns at KATO against its learns since KATO's last loss: what was learned before it is gone.

    ``symbols``: each node, and those of the vectors that it was sent; ``kills``: when KATO was killed.
    """
    out = Frequencies()
    loss = losses[-1] if losses else Loss(0, 0, frozenset())
    groups: dict[str, dict[str, _Group]] = {node: {} for node in symbols}
    for learn in learns:
        out.learns += 1
        certain = learn.commit_ms > loss.until_ms and (learn.session, learn.position) not in loss.under_way
        if not certain and learn.commit_ms < loss.from_ms:
            continue
        group = groups[learn.node].setdefault(learn.key, _Group())
        group.low += certain
        group.more += not certain
        group.contents.append(learn.content)
        group.learned_ms.append(learn.commit_ms)
    stats = partition_stats(rig)
    unknown = Counter({partition: int(row.get("learns_unknown", 0)) for partition, row in enumerate(stats)})
    doubt = Counter({partition: int(row.get("learns_in_doubt", 0)) for partition, row in enumerate(stats)})
    for node, mine in groups.items():
        partition = partition_of(lane_of(node))
        without_rows: list[tuple[str, int]] = []
        for name, row in rig.patterns(node).items():
            key = key_of(name, row.content)
            if row.content is None and key not in mine:
                without_rows.append((name, row.frequency))
                continue
            group = mine.setdefault(key, _Group())
            group.have += row.frequency
            group.seen.append((name, row.content))
        for name, frequency in without_rows:
            # Its name says nothing of its vectors, so it is one that KATO seems not to have, if there is one.
            missing = next((key for key, group in mine.items() if has_vectors(key) and group.have < group.low), name)
            group = mine.setdefault(missing, _Group())
            group.have += frequency
            group.seen.append((name, None))
        for key, group in mine.items():
            out.patterns += 1
            out.unsure += bool(group.more)
            if key == LONE_VECTORS:
                out.lone_vectors += 1
                continue
            for name, content in group.seen:
                if content is not None and group.contents and not _is_one_of(content, group.contents, symbols[node]):
                    out.mismatches += 1
                    out.wrong.append(f"pattern {name} of {node!r} is none of the oracle's: {content}")
            high = group.low + group.more
            off = max(group.low - group.have, group.have - high, 0)
            if not off:
                continue
            what = f"{key} of {node!r}: {group.have}, oracle {group.low} to {high}"
            if not group.have and any(0 <= kill - ms <= ROW_MS for kill in kills for ms in group.learned_ms):
                out.rows_lost.append(what)
                continue
            there = f"{unknown[partition]} unknown and {doubt[partition]} in doubt"
            rest = off - _taken(unknown, partition, off)
            if group.have > high:
                # After a store that went back a learn may be there twice, never less than once.
                rest -= _taken(doubt, partition, rest)
            out.excused += off - rest
            out.differing.append(f"{what}; counted there: {there}")
            if rest:
                out.mismatches += 1
                out.wrong.append(f"pattern {out.differing[-1]}")
    return out


def _is_one_of(content: list[list[str]], contents: list[list[list[str]]], others: set[str]) -> bool:
    return any(fits(content, due, others) for due in contents)


def _taken(counted: Counter[int], partition: int, wanted: int) -> int:
    """Use up as much of a partition's count as is wanted and there."""
    taken = min(wanted, counted[partition])
    counted[partition] -= taken
    return taken

"""How often KATO counts each pattern, against how often the log learned it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from tests.chaos.mischief import Loss
from tests.chaos.rig import Rig


@dataclass(frozen=True, slots=True)
class Learn:
    """One learn of the log: what the oracle says it made, and when it was committed."""

    session: str
    node: str
    position: int
    pattern: str
    commit_ms: int


@dataclass(slots=True)
class Frequencies:
    """``excused``: by how much counts differ that the counted unknown learns of their partition account for."""

    learns: int = 0
    patterns: int = 0
    mismatches: int = 0
    excused: int = 0
    unsure: int = 0
    """patterns learned at the very moment of a loss of KATO's: a range is right"""
    differing: list[str] = field(default_factory=list)
    """every pattern whose count is not the oracle's, excused or not"""
    wrong: list[str] = field(default_factory=list)


def partition_stats(rig: Rig) -> list[dict[str, str]]:
    pipe = rig.view.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.hgetall(f"{prefix(partition)}stats")
    rows: list[dict[str, str]] = pipe.execute()
    return rows


def compare(rig: Rig, nodes: Iterable[str], learns: Iterable[Learn], losses: list[Loss]) -> Frequencies:
    """Each node's patterns at KATO against its learns since KATO's last loss: what was learned before it is gone."""
    out = Frequencies()
    loss = losses[-1] if losses else Loss(0, 0, frozenset())
    certain: dict[str, Counter[str]] = {}
    unsure: dict[str, Counter[str]] = {}
    for learn in learns:
        out.learns += 1
        if learn.commit_ms > loss.until_ms and (learn.session, learn.position) not in loss.under_way:
            certain.setdefault(learn.node, Counter())[learn.pattern] += 1
        elif learn.commit_ms >= loss.from_ms:
            unsure.setdefault(learn.node, Counter())[learn.pattern] += 1
    stats = partition_stats(rig)
    unknown = Counter({partition: int(row.get("learns_unknown", 0)) for partition, row in enumerate(stats)})
    doubt = Counter({partition: int(row.get("learns_in_doubt", 0)) for partition, row in enumerate(stats)})
    for node in nodes:
        partition = partition_of(lane_of(node))
        found = rig.patterns(node)
        least, more = certain.get(node, Counter[str]()), unsure.get(node, Counter[str]())
        for name in {*found, *least, *more}:
            out.patterns += 1
            have, low, high = found.get(name, 0), least[name], least[name] + more[name]
            out.unsure += low < high
            off = max(low - have, have - high, 0)
            if not off:
                continue
            there = f"{unknown[partition]} unknown and {doubt[partition]} in doubt"
            rest = off - _taken(unknown, partition, off)
            if have > high:
                # After a store that went back a learn may be there twice, never less than once.
                rest -= _taken(doubt, partition, rest)
            out.excused += off - rest
            out.differing.append(f"{name} of {node!r}: {have}, oracle {low} to {high}; counted there: {there}")
            if rest:
                out.mismatches += 1
                out.wrong.append(f"pattern {out.differing[-1]}")
    return out


def _taken(counted: Counter[int], partition: int, wanted: int) -> int:
    """Use up as much of a partition's count as is wanted and there."""
    taken = min(wanted, counted[partition])
    counted[partition] -= taken
    return taken

"""Read the status of the whole system, and explain why it is degraded: each reason says what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kato_tasks.api.status import acknowledged as known
from kato_tasks.api.status.acknowledged import Item
from kato_tasks.api.status.counts import Counts, ShardStatus, summed
from kato_tasks.api.status.presence import BeatStatus, ListenerStatus, Presence, WorkerStatus, presence_of
from kato_tasks.api.status.services import ServiceCheck, Services, ask_services
from kato_tasks.api.status.work import LASTING_SECONDS, SHOWN, UNPUBLISHED_SECONDS, Failing, Waiting, read_waiting
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import queue_of, shard_of
from kato_tasks.ports.figures import PartitionFigures

NAMED = 3
REBUILD = "kato-tasks replay start --mode rebuild --flagged"
"""The command that rebuilds all flagged nodes."""


class FlaggedNode(BaseModel):
    """A node that is flagged for a rebuild: ``lane`` is its name as KATO writes it, ``mend`` the command to give."""

    model_config = ConfigDict(frozen=True)

    lane: str
    why: Literal["lost", "in doubt"]
    mend: str = REBUILD


class Status(Counts):
    """The status of the whole system. ``health`` is degraded if there are any ``reasons``.

    ``shards`` lists the shards where a figure asks for attention. ``acknowledged`` lists what a person knows already,
    and what is therefore no reason. ``failing`` lists a few of the sessions whose tries fail, which
    ``failing_sessions`` counts. ``flagged`` lists a few of the nodes that are to be rebuilt, which ``ltm_lost`` and
    ``rebuild_wanted`` count.
    """

    health: Literal["healthy", "degraded"]
    reasons: list[str]
    acknowledged: list[Item]
    ltm_lost_acknowledged: int
    workers: list[WorkerStatus]
    beat: BeatStatus | None
    listeners: list[ListenerStatus]
    failing_sessions: int
    failing: list[Failing]
    flagged: list[FlaggedNode]
    unpublished_seconds: float | None
    """how long the oldest message that could not be published has been waiting"""
    kato: list[ServiceCheck]
    broker: ServiceCheck
    shards: list[ShardStatus]


@dataclass(slots=True)
class _Found:
    """What was found to be wrong: the reasons, and what a person knows already."""

    reasons: list[str] = field(default_factory=list)
    acknowledged: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        """Add an item to what was acknowledged, or to the reasons if it was not."""
        if item.is_acknowledged:
            self.acknowledged.append(item)
        else:
            self.reasons.append(f"{item.what}; or say that you know: kato-tasks acknowledge {item.id}")


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the store keeps about the whole system, apart from the partitions' figures."""

    presence: Presence
    rows: Mapping[str, str]
    lost_names: list[str]
    doubtful_names: list[str]
    lost_known: list[Item]
    lost_known_count: int


def read_status(rt: Runtime) -> Status:
    """Return the status of the whole system as of now.

    This takes a few round trips to the store, and one request to each KATO instance and to the broker. Raises
    StoreUnavailable. KATO and the broker may be unreachable; the status is then degraded.
    """
    partitions = rt.figures.partitions()
    waiting = read_waiting(rt, partitions)
    kept = _read_kept(rt, partitions)
    services = ask_services(rt)
    total = summed(partitions)
    shards = _shards(rt, partitions)
    found = _Found()
    _say_who_works(found, kept, [shard.shard for shard in shards if shard.backlog or shard.lanes_due])
    _say_what_services_answer(found, services)
    _say_what_waits(found, total, waiting, sorted({shard_of(p, rt.settings.shards) for p in waiting.stuck_partitions}))
    _say_what_is_for_a_person(found, total, kept)
    for item in _items_of_the_whole(total, services, kept):
        found.add(item)
    return Status(
        **total.model_dump(),
        health="degraded" if found.reasons else "healthy",
        reasons=found.reasons,
        acknowledged=found.acknowledged + kept.lost_known,
        ltm_lost_acknowledged=kept.lost_known_count,
        workers=kept.presence.workers,
        beat=kept.presence.beat,
        listeners=kept.presence.listeners,
        failing_sessions=waiting.failing_count,
        failing=list(waiting.failing[:SHOWN]),
        flagged=_flagged(kept)[:SHOWN],
        unpublished_seconds=waiting.unpublished_seconds,
        kato=services.kato,
        broker=services.broker,
        shards=[shard for shard in shards if _has_something_to_say(shard)],
    )


def acknowledgeable(rt: Runtime) -> list[Item]:
    """List everything that can be acknowledged now or has been acknowledged. Raises StoreUnavailable."""
    partitions = rt.figures.partitions()
    total = summed(partitions)
    kept = _read_kept(rt, partitions)
    return [*_items_of_the_whole(total, ask_services(rt), kept), *known.lost_nodes(rt)]


def _read_kept(rt: Runtime, partitions: Sequence[PartitionFigures]) -> _Kept:
    lost = [part.partition for part in partitions if part.ltm_lost]
    doubtful = [part.partition for part in partitions if part.rebuild_wanted]
    whole = rt.figures.whole(lost, SHOWN, doubtful)
    return _Kept(
        presence=presence_of(whole, rt.settings.shards),
        rows=whole.acknowledged,
        lost_names=list(whole.lost_lanes),
        doubtful_names=list(whole.doubtful_lanes),
        lost_known=_lost_known(rt, list(whole.losses_acknowledged)),
        lost_known_count=sum(whole.losses_acknowledged.values()),
    )


def _flagged(kept: _Kept) -> list[FlaggedNode]:
    doubtful = (lane for lane in kept.doubtful_names if lane not in kept.lost_names)
    return [
        *(FlaggedNode(lane=lane, why="lost") for lane in kept.lost_names),
        *(FlaggedNode(lane=lane, why="in doubt") for lane in doubtful),
    ]


def _lost_known(rt: Runtime, partitions: Sequence[int]) -> list[Item]:
    """List a few of the lost nodes whose loss a person has acknowledged."""
    if not partitions:
        return []
    rows = rt.figures.acknowledged_losses(partitions[:SHOWN], SHOWN)
    return [known.lost_item(lane, rows[lane]) for lane in sorted(rows)[:SHOWN]]


def _shards(rt: Runtime, partitions: Sequence[PartitionFigures]) -> list[ShardStatus]:
    by_shard: dict[int, list[PartitionFigures]] = {shard: [] for shard in range(rt.settings.shards)}
    for part in partitions:
        by_shard[shard_of(part.partition, rt.settings.shards)].append(part)
    return [ShardStatus(shard=shard, **summed(parts).model_dump()) for shard, parts in by_shard.items()]


def _has_something_to_say(shard: ShardStatus) -> bool:
    return any(
        (
            shard.backlog,
            shard.lanes_due,
            shard.dead_letters,
            shard.parked,
            shard.scheduled,
            shard.unpublished,
            shard.ltm_lost,
            shard.rebuild_wanted,
            shard.unreadable_lanes,
        )
    )


# --------------------------------------------------------------------------------------------------------- reasons


def _say_who_works(found: _Found, kept: _Kept, waiting_shards: Sequence[int]) -> None:
    presence = kept.presence
    _say_which_sources_are_not_read(found, presence)
    if not presence.live:
        gone = [worker for worker in presence.workers if worker.state == "gone"]
        last = min(gone, key=lambda worker: worker.sign_seconds, default=None)
        since = f" ({last.name} gave its last sign {last.sign_seconds:.0f} s ago)" if last else ""
        found.reasons.append(f"no worker is running{since}: start one with celery -A kato_tasks worker")
        return
    if unserved := presence.unserved(waiting_shards):
        queues = ",".join(map(queue_of, unserved))
        found.reasons.append(
            f"something waits in {_shards_named(unserved)}, which no running worker serves: start one with "
            f"celery -A kato_tasks worker -Q {queues}, or without -Q for all"
        )
    if presence.control_is_unserved:
        found.reasons.append(
            "no running worker serves kato.control, so beat's messages wait there: add it to the -Q of one, or start "
            "one without -Q"
        )


def _say_which_sources_are_not_read(found: _Found, presence: Presence) -> None:
    """Name the sources whose listeners are all gone. One that ended as it was told is not missed."""
    read = {listener.source for listener in presence.listeners if not listener.gone}
    for source in sorted({listener.source for listener in presence.listeners} - read):
        last = min(
            (one for one in presence.listeners if one.source == source), key=lambda listener: listener.sign_seconds
        )
        found.reasons.append(
            f"nobody reads {source}: its listener on {last.host} (pid {last.pid}) made its last step "
            f"{_duration(last.sign_seconds)} ago: start it again with kato-tasks listen"
        )


def _say_what_waits(found: _Found, total: Counts, waiting: Waiting, stuck_shards: Sequence[int]) -> None:
    if waiting.stuck_seconds is not None:
        found.reasons.append(
            f"nothing moves in {_shards_named(stuck_shards)}: an event waits for {_duration(waiting.stuck_seconds)} "
            "and nothing was applied there meanwhile; see the workers' log, and check whether they take messages "
            "(kato-tasks health worker)"
        )
    lasting = [
        one
        for one in waiting.failing
        if one.seconds >= LASTING_SECONDS and not any(reason in one.error for reason in found.reasons)
    ]
    if lasting:
        first = lasting[0]
        found.reasons.append(
            f"{_count(waiting.failing_count, 'session')} cannot go on, {first.session_id!r} for "
            f"{_duration(first.seconds)}: {_short(first.error)}; see kato-tasks sessions show; they go on by "
            "themselves once that is mended"
        )
    age = waiting.unpublished_seconds
    if total.unpublished and (age is None or age > UNPUBLISHED_SECONDS):
        since = "" if age is None else f" for {_duration(age)}"
        found.reasons.append(
            f"{_count(total.unpublished, 'task message')} could not be published{since}: a running worker publishes "
            "them once the broker answers; check that both are running"
        )


def _say_what_is_for_a_person(found: _Found, total: Counts, kept: _Kept) -> None:
    if total.parked:
        found.reasons.append(f"{total.parked} session(s) parked: kato-tasks sessions list --state parked")
    if total.dead_letters:
        found.reasons.append(f"{total.dead_letters} dead letter(s): kato-tasks dead-letters list")
    if total.ltm_lost:
        names = ", ".join(map(repr, kept.lost_names[:NAMED])) + (", …" if total.ltm_lost > NAMED else "")
        found.reasons.append(
            f"KATO lost the patterns of {total.ltm_lost} node(s) ({names}): restore KATO's "
            f"stores from their backup, or rebuild them from the history: {REBUILD}, or say that you know: "
            "kato-tasks acknowledge"
        )
    if total.unreadable_lanes:
        found.reasons.append(
            f"the rows of {total.unreadable_lanes} lane(s) in the store cannot be read, and their sessions wait: "
            "the workers' log names them as lane.unreadable; restore these rows"
        )


def _say_what_services_answer(found: _Found, services: Services) -> None:
    found.reasons += [sentence for one in services.kato if (sentence := one.sentence)]
    found.reasons += [one.session_config for one in services.kato if one.session_config]
    broker = services.broker
    if broker.error:
        found.reasons.append(
            f"the broker at {broker.url} does not answer: {broker.error}; start it, or mend KATO_TASKS_BROKER_URL"
        )


def _items_of_the_whole(total: Counts, services: Services, kept: _Kept) -> list[Item]:
    """List what can be acknowledged apart from the lost nodes."""
    items = []
    beat = kept.presence.beat
    if kept.presence.beat_is_missed:
        since = f"beat has not published for {_duration(beat.published_seconds)}" if beat else "no beat is running"
        items.append(
            Item(
                id="no-beat",
                of=str(beat.published_ms) if beat else "never",
                what=f"{since}, so KATO sessions in use are not kept from expiring (they are rebuilt when needed, "
                "which is slower): start one with celery -A kato_tasks beat",
            )
        )
    if services.volatile:
        items.append(Item(id="store-volatile", of=services.volatile, what=f"the store's {services.volatile}"))
    unknown = total.learns_unknown
    if unknown:
        before = known.known_count(kept.rows, "learns-unknown")
        new = unknown - before if 0 < before < unknown else unknown
        items.append(
            Item(
                id="learns-unknown",
                of=str(unknown),
                what=f"the outcome of {_count(new, 'learn')} could not be found out, so a pattern's count may be off "
                "by one for each: the workers' log names them",
            )
        )
    return [known.known(item, kept.rows) for item in items]


def _shards_named(shards: Sequence[int]) -> str:
    listed = ", ".join(map(str, shards[:8])) + (", …" if len(shards) > 8 else "")
    return f"shard {listed}" if len(shards) == 1 else f"shards {listed}"


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= 300 else f"{one[:299]}…"


def _count(number: int, singular: str) -> str:
    return f"{number:,} {singular}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"

"""Say whether this system takes events and works through them, as load balancers and people ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kato_tasks.api.status.counts import summed
from kato_tasks.api.status.presence import presence_of
from kato_tasks.bootstrap import Runtime, waker
from kato_tasks.errors import KatoTasksError, StoreUnavailable
from kato_tasks.ports.figures import PartitionFigures

BROKER_SECONDS = 2.0
STALLED_SECONDS = 60.0
"""A partition whose oldest event waits for this long, while nothing of it was applied meanwhile, stands still."""


class Check(BaseModel):
    """One thing that was looked at. ``reason`` says what is wrong, or is None."""

    model_config = ConfigDict(frozen=True)

    name: Literal["store", "broker", "kato", "workers"]
    ok: bool
    reason: str | None = None


class Readiness(BaseModel):
    """Whether events are accepted (``ready``), and whether they are applied, too (``status`` is then ``ok``).

    Events are accepted as long as the store is there: they wait for everything else.
    """

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "degraded", "unavailable"] = Field(description="`ok`: events are accepted and applied")
    ready: bool = Field(description="whether events are accepted")
    checks: list[Check]


def read_readiness(rt: Runtime) -> Readiness:
    """Look at the store, the broker, the KATO instances' circuits, and whether workers make progress.

    Nothing is raised where one of them is away; the check then says so, without addresses and other internals.
    """
    try:
        partitions = rt.figures.partitions()
        circuits = rt.figures.open_circuits(rt.settings.kato_instances)
        workers = _check_workers(rt, partitions)
    except StoreUnavailable:
        store = Check(name="store", ok=False, reason="the store does not answer, so nothing is accepted")
        return Readiness(status="unavailable", ready=False, checks=[store])
    except KatoTasksError:
        store = Check(name="store", ok=False, reason="the store cannot be used; see the server's log")
        return Readiness(status="unavailable", ready=False, checks=[store])
    checks = [Check(name="store", ok=True), _check_broker(), _check_kato(circuits, len(rt.settings.kato_instances))]
    checks.append(workers)
    return Readiness(status="ok" if all(check.ok for check in checks) else "degraded", ready=True, checks=checks)


def _check_broker() -> Check:
    _, error = waker().try_broker(BROKER_SECONDS)
    return Check(name="broker", ok=not error, reason="the broker does not answer; events wait" if error else None)


def _check_kato(circuits: dict[str, str], instances: int) -> Check:
    if not circuits:
        return Check(name="kato", ok=True)
    return Check(name="kato", ok=False, reason=f"{len(circuits)} of {instances} KATO instances fail; events wait")


def _check_workers(rt: Runtime, partitions: Sequence[PartitionFigures]) -> Check:
    presence = presence_of(rt.figures.whole([], 0), rt.settings.shards)
    if not presence.live:
        return Check(name="workers", ok=False, reason="no worker runs; events wait")
    if any(map(_stands_still, partitions)):
        waiting = summed(partitions).backlog
        return Check(name="workers", ok=False, reason=f"nothing is applied of {waiting} events in some partitions")
    return Check(name="workers", ok=True)


def _stands_still(part: PartitionFigures) -> bool:
    waited, moved = part.oldest_unapplied_seconds, part.moved_seconds
    return waited is not None and waited > STALLED_SECONDS and (moved is None or moved > STALLED_SECONDS)


__all__ = ["Check", "Readiness", "read_readiness"]

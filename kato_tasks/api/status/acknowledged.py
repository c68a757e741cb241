"""Keep what a person knows already and cannot mend: who acknowledged it, when and why, until it happens again.

These ids can be acknowledged: ``ltm-lost:LANE`` means that KATO lost the patterns of a node, ``learns-unknown`` that
the outcome of some learns could not be found out, ``store-volatile`` that the store keeps nothing on disk, and
``no-beat`` that beat does not run. The first one is kept in the lane's partition, and ends with the next loss. The
others are kept together with the state that was acknowledged, and hold for that state alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import partition_of
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.operating import AcknowledgeLost, KeepAcknowledgement

LOST = "ltm-lost:"


class NothingToAcknowledge(KatoTasksError):
    """There is nothing to acknowledge under this id."""


class Item(BaseModel):
    """Something that a person may acknowledge or has acknowledged.

    Once it is acknowledged, ``by``, ``at`` and ``note`` say who did so, when and why. ``of`` describes the present
    state that the item is about; it has another value once the same thing has happened again.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    what: str
    of: str = ""
    by: str = ""
    at: str = ""
    note: str = ""

    @property
    def is_acknowledged(self) -> bool:
        """Return whether a person has acknowledged this item."""
        return bool(self.at)


def known(item: Item, rows: Mapping[str, str]) -> Item:
    """Return the item with its acknowledgement from ``rows``, if that was given for the same state (``of``)."""
    kept = _row(rows.get(item.id))
    return with_(item, kept) if kept.get("of") == item.of else item


def known_count(rows: Mapping[str, str], id_: str) -> int:
    """Return which count of the item ``id_`` was acknowledged, or 0 if none was."""
    of = str(_row(rows.get(id_)).get("of", ""))
    return int(of) if of.isdecimal() else 0


def with_(item: Item, kept: Mapping[str, Any]) -> Item:
    """Return a copy of the item that says who acknowledged it, when and with which note, taken from ``kept``."""
    said = {name: str(kept.get(name, "")) for name in ("by", "at", "note")}
    return item.model_copy(update={**said, "at": said["at"] or "?"})


def _row(text: str | None) -> dict[str, Any]:
    try:
        row = json.loads(text or "{}")
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def lost_item(lane: str, kept: str | None = None) -> Item:
    """Return the item for the lost patterns of the node with this lane.

    ``kept`` is the acknowledgement (JSON) that a person gave; None means that nothing was acknowledged.
    """
    item = Item(id=f"{LOST}{lane}", what=f"KATO lost the patterns of the node {lane!r}")
    return item if kept is None else with_(item, _row(kept))


def lost_nodes(rt: Runtime) -> list[Item]:
    """List every node whose patterns KATO lost, whether or not that was acknowledged. Raises StoreUnavailable."""
    lanes = rt.figures.lost_lanes()
    items = [lost_item(lane) for lane in lanes.open]
    items += [lost_item(lane, kept) for lane, kept in lanes.acknowledged.items()]
    return sorted(items, key=lambda item: item.id)


def acknowledge(rt: Runtime, items: Iterable[Item], *, by: str, at: str, note: str = "") -> list[Item]:
    """Record that the person ``by`` knows of these items, and return them as acknowledged. Raises StoreUnavailable."""
    said = {"by": by, "at": at, "note": note}
    lanes: dict[int, list[str]] = {}
    done: list[Item] = []
    operations: list[AcknowledgeLost | KeepAcknowledgement] = []
    for item in items:
        done.append(with_(item, said))
        if item.id.startswith(LOST):
            lane = item.id.removeprefix(LOST)
            lanes.setdefault(partition_of(lane), []).append(lane)
        else:
            operations.append(KeepAcknowledgement(item.id, json.dumps({**said, "of": item.of})))
    operations += [AcknowledgeLost(p, tuple(names), json.dumps(said)) for p, names in lanes.items()]
    if operations:
        raise_errors(rt.store.execute(operations))
    return done

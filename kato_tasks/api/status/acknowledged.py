"""What a person knows already and cannot mend: kept with who, when and why, until it happens anew.

``ltm-lost:LANE``: KATO lost the patterns of a node. ``learns-unknown``: learns whose outcome could not be found out.
``store-volatile``: the store keeps nothing on disk. ``no-beat``: beat does not run. The first is kept in the lane's
partition and ends with the next loss; the others are kept with what they were acknowledged of, and hold for that alone.
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
    """Nothing that could be acknowledged has this id."""


class Item(BaseModel):
    """Something that a person may acknowledge, or has: then ``by``, ``at`` and ``note`` say who, when and why.

    ``of`` is what it is about just now: it is another one when it happened anew.
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
        """Whether a person has acknowledged this item."""
        return bool(self.at)


def known(item: Item, rows: Mapping[str, str]) -> Item:
    """The item with what was kept of it, if that was about this very thing."""
    kept = _row(rows.get(item.id))
    return with_(item, kept) if kept.get("of") == item.of else item


def known_count(rows: Mapping[str, str], id_: str) -> int:
    """How many of something counted were acknowledged."""
    of = str(_row(rows.get(id_)).get("of", ""))
    return int(of) if of.isdecimal() else 0


def with_(item: Item, kept: Mapping[str, Any]) -> Item:
    """Return the item with who acknowledged it, when and with which note, as ``kept`` says."""
    said = {name: str(kept.get(name, "")) for name in ("by", "at", "note")}
    return item.model_copy(update={**said, "at": said["at"] or "?"})


def _row(text: str | None) -> dict[str, Any]:
    try:
        row = json.loads(text or "{}")
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def lost_item(lane: str, kept: str | None = None) -> Item:
    """The patterns of one node, as its lane is called; ``kept``: what a person said of it."""
    item = Item(id=f"{LOST}{lane}", what=f"KATO lost the patterns of the node {lane!r}")
    return item if kept is None else with_(item, _row(kept))


def lost_nodes(rt: Runtime) -> list[Item]:
    """Every node whose patterns KATO lost, acknowledged or not. Raises StoreUnavailable."""
    lanes = rt.figures.lost_lanes()
    items = [lost_item(lane) for lane in lanes.open]
    items += [lost_item(lane, kept) for lane, kept in lanes.acknowledged.items()]
    return sorted(items, key=lambda item: item.id)


def acknowledge(rt: Runtime, items: Iterable[Item], *, by: str, at: str, note: str = "") -> list[Item]:
    """Keep that a person knows of these; returns them as they stand then. Raises StoreUnavailable."""
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

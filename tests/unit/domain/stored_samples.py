"""The stored samples of every schema version, and what must hold for an upcaster and the samples of its version."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.upcasters import SETTLED

Json = dict[str, Any]
SAMPLES = Path(__file__).parent / "samples"
NEEDED = ("observation", "learn", "clear_stm")
"""The samples without which a version is not kept."""


@dataclass(frozen=True)
class Sample:
    """An event of a version: as it was sent, and as each kato_tasks of that version wrote it into a log."""

    version: int
    name: str
    event: Json
    entries: tuple[str, ...]

    def __str__(self) -> str:
        return f"v{self.version}-{self.name}"

    @property
    def session(self) -> str:
        return str(self.event["session_id"])

    @property
    def node(self) -> str:
        return self.event.get("node_id") or self.session

    def logged(self) -> list[Logged]:
        return [Logged.parse(7, text) for text in self.entries]


def samples_of(version: int) -> list[Sample]:
    folder = SAMPLES / f"v{version}"
    return [
        Sample(
            version,
            path.stem,
            json.loads(path.read_text(encoding="utf-8")),
            tuple(one.read_text(encoding="utf-8") for one in sorted(folder.glob(f"{path.stem}.*entry"))),
        )
        for path in sorted(folder.glob("*.json"))
    ]


def faults(version: int, step: Callable[[Json], Json], event: Json) -> list[str]:
    """What is wrong with an upcaster, as an event of its version shows it: nothing, if it is a good one."""
    event = event | {"schema_version": version}
    given, kept = deepcopy(event), deepcopy(event)
    made, again = step(given), step(deepcopy(event))
    found = []
    if given != kept:
        found.append("it changes the event that it is given")
    if made != again:
        found.append("it makes something else of an event each time")
    if json.loads(json.dumps(made)) != made:
        found.append("what it makes is no plain JSON")
    found += [f"it changes {name}" for name in SETTLED if made.get(name) != kept.get(name)]
    return found

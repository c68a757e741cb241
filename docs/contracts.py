"""The import contracts of pyproject.toml, as data: what the drawing of the layers and the import graph both read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """One line of a layers contract: it may import the lines below it, and no line above it."""

    members: tuple[str, ...]
    independent: bool  # joined by "|": the members never import each other; joined by ":": they may

    def member_of(self, module: str) -> str | None:
        """The member that ``module`` is, or is a part of; None if it belongs to another line or to no line."""
        found = [member for member in self.members if (module + ".").startswith(member + ".")]
        return max(found, key=len, default=None)


@dataclass(frozen=True)
class Layers:
    """A layers contract, top line first, with module names in full."""

    name: str
    container: str  # the package whose inside it orders; empty for the package as a whole
    lines: tuple[Layer, ...]
    ignored: tuple[tuple[str, str], ...]  # (importer, imported), each with import-linter's * and **

    def climbs(self, importer: str, imported: str) -> bool:
        """Whether this import goes against the layers; ``ignore_imports`` makes no difference here."""
        above, below = self._place(importer), self._place(imported)
        if above is None or below is None:
            return False
        if above[0] == below[0]:
            return above[1] != below[1] and self.lines[above[0]].independent
        return above[0] > below[0]

    def ignores(self, importer: str, imported: str) -> bool:
        """Whether ``ignore_imports`` excuses this import."""
        return any(_fits(one, importer) and _fits(other, imported) for one, other in self.ignored)

    def _place(self, module: str) -> tuple[int, str] | None:
        places = [(at, member) for at, line in enumerate(self.lines) if (member := line.member_of(module))]
        return max(places, key=lambda place: len(place[1]), default=None)


def _fits(pattern: str, module: str) -> bool:
    expression = re.escape(pattern).replace(r"\*\*", r".+").replace(r"\*", r"[^.]+")
    return re.fullmatch(expression, module) is not None


def read_layers(pyproject: Path) -> list[Layers]:
    """The layers contracts of a ``pyproject.toml``, in its order: the first is that of the package as a whole."""
    tool = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]
    found = []
    for contract in tool["contracts"]:
        if contract["type"] != "layers":
            continue
        ignored = tuple(_arrow(text) for text in contract.get("ignore_imports", ()))
        for container in contract.get("containers", ("",)):
            prefix = f"{container}." if container else ""
            lines = tuple(_layer(line, prefix) for line in contract["layers"])
            found.append(Layers(contract["name"], container, lines, ignored))
    return found


def _layer(line: str, prefix: str) -> Layer:
    names: Sequence[str] = re.findall(r"[\w.]+", line)
    return Layer(tuple(prefix + name for name in names), independent=":" not in line)


def _arrow(text: str) -> tuple[str, str]:
    importer, imported = (part.strip() for part in text.split("->"))
    return importer, imported

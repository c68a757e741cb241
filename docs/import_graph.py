"""The import graph of the package: its rooms, how they stand on each other, and what goes against the layers.

    python -m docs.import_graph [REVISION ...] [--depth 2]

Without a revision it reads the working tree. Each REVISION is read from git into a temporary folder, so trees of any
age can be compared. A *room* is a direct child of ``kato_tasks/``, a file or a folder (``--depth 2`` looks one step
deeper). An *arrow* leads from a room to another one that it imports, inside functions too. *Floors* are the rooms of
the longest chain of arrows. A *circle* is a group of rooms that reach each other; it counts as one floor. Imports that
only a type checker carries out are left out, as the contracts leave them out, and counted in a line of their own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import grimp

from docs.contracts import Layers, read_layers

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "kato_tasks"
Arrow = tuple[str, str]


@dataclass(frozen=True)
class ImportGraph:
    """Which module imports which (``imports``), and the same for rooms of a depth (``arrows``)."""

    modules: frozenset[str]
    imports: frozenset[Arrow]
    depth: int = 1

    @property
    def rooms(self) -> list[str]:
        """The rooms' names; ``__init__`` is the package's own file."""
        return sorted({self.room_of(module) for module in self.modules})

    @property
    def arrows(self) -> list[Arrow]:
        """From each room to each other room that it imports."""
        found = {(self.room_of(importer), self.room_of(imported)) for importer, imported in self.imports}
        return sorted(arrow for arrow in found if arrow[0] != arrow[1])

    def room_of(self, module: str) -> str:
        """The room that a module is in."""
        return ".".join(module.split(".")[1 : self.depth + 1]) or "__init__"

    def circles(self) -> list[list[str]]:
        """The groups of rooms that reach each other."""
        return [group for group in self._groups() if len(group) > 1]

    def floors(self) -> list[str]:
        """One longest chain of rooms from top to bottom; the rooms of a circle are joined by ``+``."""
        chains: dict[str, list[str]] = {}  # room → the longest chain that starts with its group
        below = self._below()
        for group in self._groups():  # what stands below a group has been seen before it
            under = [chains[room] for member in group for room in below[member] if room not in group]
            chain = ["+".join(group), *max(under, key=len, default=[])]
            chains.update((room, chain) for room in group)
        return max(chains.values(), key=len)

    def climbing(self, layers: Layers) -> list[Arrow]:
        """The modules' imports that go against the layers, those that the contract ignores among them."""
        return sorted(arrow for arrow in self.imports if layers.climbs(*arrow))

    def outside(self, layers: Layers) -> list[str]:
        """Rooms that no line of the layers speaks of."""
        members = [member for line in layers.lines for member in line.members]
        named = {self.room_of(member) for member in members} | {self.room_of(f"{member}.x") for member in members}
        return [room for room in self.rooms if room not in named and room.split(".")[0] not in named]

    def _below(self) -> dict[str, list[str]]:
        below: dict[str, list[str]] = {room: [] for room in self.rooms}
        for importer, imported in self.arrows:
            below[importer].append(imported)
        return below

    def _groups(self) -> list[list[str]]:
        """Strongly connected groups, lowest first (Tarjan's algorithm)."""
        below, index, low = self._below(), dict[str, int](), dict[str, int]()
        stack: list[str] = []
        groups: list[list[str]] = []

        def visit(room: str) -> None:
            index[room] = low[room] = len(index)
            stack.append(room)
            for other in below[room]:
                if other not in index:
                    visit(other)
                    low[room] = min(low[room], low[other])
                elif other in stack:
                    low[room] = min(low[room], index[other])
            if low[room] == index[room]:
                at = stack.index(room)
                groups.append(sorted(stack[at:]))
                del stack[at:]

        for room in below:
            if room not in index:
                visit(room)
        return groups


def read_graph(tree: Path, *, depth: int = 1, for_types: bool = False) -> ImportGraph:
    """The import graph of the package in ``tree``; ``for_types``: imports under ``TYPE_CHECKING`` as well.

    Raises:
        RuntimeError: The package was imported from another tree before, so that its sources would be looked up there.
    """
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and not Path(str(loaded.__file__)).is_relative_to(tree):
        raise RuntimeError(f"{PACKAGE} is loaded from {loaded.__file__}: read {tree} in another process")
    sys.path.insert(0, str(tree))
    try:
        sys.path_importer_cache.clear()
        graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=not for_types, cache_dir=None)
    finally:
        sys.path.remove(str(tree))
    imports = {
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    return ImportGraph(frozenset(graph.modules), frozenset(imports), depth)


def describe(tree: Path, depth: int) -> Iterable[tuple[str, str, str]]:
    """(what, how many, which) for a tree: what the command prints."""
    graph = read_graph(tree, depth=depth)
    yield "rooms", str(len(graph.rooms)), " ".join(graph.rooms)
    floors = graph.floors()
    yield "floors", str(len(floors)), " → ".join(floors)
    yield "arrows", str(len(graph.arrows)), ""
    circles = graph.circles()
    yield "circles", str(len(circles)), "; ".join(" ".join(circle) for circle in circles)
    own, today = (read_layers(base / "pyproject.toml")[0] for base in (tree, CHECKOUT))
    yield from _against("against its own layers", graph, own)
    if own != today:
        yield from _against("against today's layers", graph, today)
    with_types = read_graph(tree, depth=depth, for_types=True)
    more = len(with_types.arrows) - len(graph.arrows)
    closed = [circle for circle in with_types.circles() if circle not in circles]
    told = f"and then there is a circle of {' '.join(closed[0])}" if closed else ""
    yield "arrows for types alone", str(more), told


def _against(what: str, graph: ImportGraph, layers: Layers) -> Iterable[tuple[str, str, str]]:
    climbing = graph.climbing(layers)
    rooms = sorted({f"{graph.room_of(importer)} → {graph.room_of(imported)}" for importer, imported in climbing})
    yield what, str(len(rooms)), ", ".join(rooms)
    excused = [arrow for arrow in climbing if layers.ignores(*arrow)]
    if excused:
        yield "  imports in these", str(len(climbing)), f"{len(excused)} of them excused by ignore_imports"
    outside = graph.outside(layers)
    yield "  rooms without a layer", str(len(outside)), " ".join(outside)


def check_out(revision: str, into: Path) -> None:
    """Write the package and its contracts, as they are in ``revision``, into a folder."""
    command = ["git", "-C", str(CHECKOUT), "archive", revision, PACKAGE, "pyproject.toml"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(into, filter="data")


def _print_tree(name: str, tree: Path, depth: int) -> None:
    print(name)
    for what, how_many, which in describe(tree, depth):
        print(f"  {what:24} {how_many:>4}  {which}".rstrip())


def main(words: Sequence[str] | None = None) -> None:
    """Print the graph of each revision, or of the working tree."""
    parser = argparse.ArgumentParser(prog="python -m docs.import_graph", description="The import graph of the package.")
    parser.add_argument("revisions", metavar="REVISION", nargs="*", help="of git; without one: the working tree")
    parser.add_argument("--depth", type=int, default=1, help="1: direct children of the package; 2: their children")
    given = parser.parse_args(words)
    if not given.revisions:
        _print_tree("working tree", CHECKOUT, given.depth)
    for revision in given.revisions:
        with tempfile.TemporaryDirectory() as folder:
            check_out(revision, Path(folder))
            _print_tree(revision, Path(folder), given.depth)


if __name__ == "__main__":
    main()

"""The shape of the package: no room in a circle, none that imports what stands above it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docs.contracts import Layer, Layers, read_layers
from docs.import_graph import CHECKOUT, ImportGraph, read_graph

LAYERS = read_layers(CHECKOUT / "pyproject.toml")[0]


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return read_graph(CHECKOUT)


def test_no_rooms_import_each_other_in_a_circle(graph: ImportGraph) -> None:
    assert graph.circles() == []


def test_no_import_goes_against_the_layers(graph: ImportGraph) -> None:
    assert graph.climbing(LAYERS) == []


def test_every_room_has_its_layer(graph: ImportGraph) -> None:
    # __init__ exports names lazily, and __main__ starts the command line: both may name what they like.
    assert graph.outside(LAYERS) == ["__init__", "__main__"]


def test_a_circle_is_found_and_counts_as_one_floor() -> None:
    graph = graph_of("top>left left>right right>left right>base")
    assert graph.circles() == [["left", "right"]]
    assert graph.floors() == ["top", "left+right", "base"]


def test_the_floors_are_those_of_the_longest_chain() -> None:
    graph = graph_of("a>d a>b b>c c>d e>d")
    assert graph.floors() == ["a", "b", "c", "d"]
    assert len(graph.arrows) == 5


@pytest.mark.parametrize(
    ("importer", "imported", "climbs"),
    [
        ("kato_tasks.low", "kato_tasks.top.part", True),
        ("kato_tasks.top.part", "kato_tasks.low", False),
        ("kato_tasks.apart", "kato_tasks.beside", True),
        ("kato_tasks.apart.one", "kato_tasks.apart.two", False),
        ("kato_tasks.one", "kato_tasks.other", False),
        ("kato_tasks.lower", "kato_tasks.top", False),  # in no line: its name only begins like one
    ],
)
def test_an_import_climbs_when_it_names_what_stands_above_or_apart(importer: str, imported: str, climbs: bool) -> None:
    lines = (
        Layer(("kato_tasks.top",), independent=True),
        Layer(("kato_tasks.apart", "kato_tasks.beside"), independent=True),
        Layer(("kato_tasks.one", "kato_tasks.other"), independent=False),
        Layer(("kato_tasks.low",), independent=True),
    )
    assert Layers("", "", lines, ()).climbs(importer, imported) is climbs


def test_an_exception_covers_what_its_stars_stand_for() -> None:
    layers = Layers("", "", (), (("kato_tasks.api.**", "kato_tasks.*.keys"),))
    assert layers.ignores("kato_tasks.api.status.work", "kato_tasks.redis.keys")
    assert not layers.ignores("kato_tasks.api.status.work", "kato_tasks.adapters.redis.keys")
    assert not layers.ignores("kato_tasks.apis.one", "kato_tasks.redis.keys")


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="no git repository: this is an unpacked archive")
def test_the_command_prints_the_graph_of_a_revision() -> None:
    command = [sys.executable, "-m", "docs.import_graph", "HEAD"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("HEAD\n  rooms ")
    assert "  circles " in done.stdout


def graph_of(arrows: str) -> ImportGraph:
    imports = [(f"kato_tasks.{one}", f"kato_tasks.{other}") for one, other in (a.split(">") for a in arrows.split())]
    return ImportGraph(frozenset(module for arrow in imports for module in arrow), frozenset(imports))

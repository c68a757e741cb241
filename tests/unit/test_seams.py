"""Redis stands behind ports: what may know its client, its keys and its fields, and what may not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "kato_tasks"
KNOW_REDIS = ("adapters", "bootstrap", "testing")
"""The rooms that hold Redis clients: what speaks to it, what puts the pieces together, and doubles of it for tests."""
LOOK_AT_CELERYS_OWN = {
    "celery_tasks/app/own_app.py": "errors of a Redis broker that is away while its connections are closed",
    "celery_tasks/worker/liveness.py": "a Redis broker's queues and RedBeat's entry, which Celery's programs write",
    "celery_tasks/calling/result_watch.py": "Celery's result backend, whose results an event loop listens for",
    "celery_tasks/waiting.py": "errors of Celery's result backend, which say that a result is to be stored later",
    "celery_tasks/patches/kombu_redis.py": "errors of kombu's Redis transport, which the patch mends",
}
"""The modules beside these that name the client, and why: none of them looks at the event log."""
KEYS_OF_CELERYS_OWN = {"celery_tasks/app/configuration.py": "the prefix under which RedBeat keeps its entries"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.split("/")[0] not in KNOW_REDIS:
            yield name, ast.parse(path.read_text("utf-8"))


def names_redis(tree: ast.Module) -> bool:
    """Whether a module imports the client, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "redis" for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "redis":
            return True
    return False


def test_the_redis_client_is_imported_by_adapters_and_bootstrap_and_where_celerys_own_is_looked_at() -> None:
    assert {name for name, tree in modules() if names_redis(tree)} == LOOK_AT_CELERYS_OWN.keys()


def test_nothing_but_adapters_and_bootstrap_asks_a_runtime_for_its_redis_client() -> None:
    asked = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "redis"
    }
    assert asked == set()


def test_no_key_of_redis_is_built_outside_the_adapters() -> None:
    built = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("kt:")
    }
    assert built == KEYS_OF_CELERYS_OWN.keys()


def test_bootstrap_builds_no_key_either() -> None:
    """It names adapters, which build them."""
    for path in (PACKAGE / "bootstrap").glob("*.py"):
        assert "adapters.redis.keys" not in path.read_text("utf-8"), path
        assert "kt:" not in path.read_text("utf-8"), path

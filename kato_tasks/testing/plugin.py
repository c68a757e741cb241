"""The pytest plug-in: fixtures for applications' tests (``docs/testing.md``).

pytest loads it in every run, through its entry point. So it imports nothing but pytest until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kato_tasks.testing.inline import Inline
    from kato_tasks.testing.stack import RunningStack

_EXTRA = "install kato-tasks with its extra: kato-tasks[testing]"


@pytest.fixture
def kato_tasks_settings() -> dict[str, Any]:
    """Settings that ``kato_tasks_inline`` is to have, by their names in lower case; a test's own fixture gives some."""
    return {}


@pytest.fixture
def kato_tasks_inline(kato_tasks_settings: dict[str, Any]) -> Iterator[Inline]:
    """The tasks of kato_tasks are applied inside this process, on an empty store and an empty KATO, for one test."""
    _need("kato_tasks_inline", "fakeredis", "lupa")
    from kato_tasks.testing.inline import inline

    with inline(**kato_tasks_settings) as here:
        yield here


@pytest.fixture(scope="session")
def kato_tasks_stack() -> Iterator[RunningStack]:
    """A stack of Redis, an embedded KATO and a worker for the run, which this process uses."""
    _need("kato_tasks_stack", "uvicorn")
    from kato_tasks.embedded.stack.stack import StackFailed
    from kato_tasks.testing.stack import running_stack

    running = running_stack()
    try:
        stack = running.__enter__()
    except StackFailed as exc:
        pytest.fail("\n".join([f"kato_tasks_stack: {exc}", *exc.log]), pytrace=False)
    try:
        yield stack
    finally:
        running.__exit__(None, None, None)


def _need(fixture: str, *modules: str) -> None:
    """Fail with a sentence where the extra is not installed: a test that is left out silently proves nothing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        pytest.fail(f"{fixture} needs {' and '.join(missing)}; {_EXTRA}", pytrace=False)

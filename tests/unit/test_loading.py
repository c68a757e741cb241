"""Celery is loaded by one thread at a time, whichever call of ours needs it first."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest

import kato_tasks
from kato_tasks import loading
from kato_tasks.bootstrap import waking


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is loaded, and whether the loading thread holds the lock meanwhile."""
    seen: list[tuple[str, bool]] = []

    def noted(name: str) -> ModuleType:
        seen.append((name, loading._importing._is_owned()))  # type: ignore[attr-defined]
        return import_module(name)

    monkeypatch.setattr(loading, "import_module", noted)
    return seen


def test_the_first_wake_up_loads_celery_under_the_lock(
    loaded: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kato_tasks.celery_tasks.wakeups import CeleryWaker

    # It is loaded already, and would not fill the port a second time.
    monkeypatch.setattr(waking, "_waker", None)
    with pytest.raises(AssertionError, match="fills the port"):
        waking.waker()
    assert loaded == [("kato_tasks.celery_tasks.wakeups", True)]
    waking.fill_waker(CeleryWaker())


def test_a_public_name_loads_its_module_under_the_lock(
    loaded: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(vars(kato_tasks), "observe", raising=False)
    assert kato_tasks.observe.name == "kato_tasks.process_observation_async"
    assert loaded == [("kato_tasks.celery_tasks.tasks", True)]

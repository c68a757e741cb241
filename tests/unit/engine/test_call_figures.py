"""How calls to KATO are counted."""

from __future__ import annotations

import pytest

from kato_tasks.engine.running import call_figures
from kato_tasks.engine.running.call_figures import CallFigures

URL = "http://kato:8000"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> CallFigures:
    monkeypatch.setattr(call_figures, "TELL_SECONDS", 0.0)
    return CallFigures()


def test_a_call_is_counted_by_its_end_and_by_how_long_it_took(figures: CallFigures) -> None:
    figures.note(URL, "observe", 200, 0.004)
    figures.note(URL, "observe", 200, 0.005)
    figures.note(URL, "observe", 422, 0.0051)
    figures.note(URL, "learn", None, 31.0)
    assert dict(figures.take_due()) == {
        f"{URL}\nobserve\n2xx": 2,
        f"{URL}\nobserve\n4xx": 1,
        f"{URL}\nobserve\nms": 14,
        f"{URL}\nobserve\nto 5": 2,
        f"{URL}\nobserve\nto 10": 1,
        f"{URL}\nlearn\nnone": 1,
        f"{URL}\nlearn\nms": 31_000,
        f"{URL}\nlearn\nto more": 1,
    }
    assert figures.take_due() == (), "what was taken is not taken again"


def test_counts_are_told_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("kato_tasks.engine.running.call_figures.time.monotonic", lambda: now)
    figures = CallFigures()
    figures.note(URL, "observe", 200, 0.1)
    assert figures.take_due() == ()
    now += call_figures.TELL_SECONDS
    assert len(figures.take_due()) == 3
    figures.note(URL, "observe", 200, 0.1)
    assert figures.take_due() == ()

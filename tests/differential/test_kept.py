"""A KATO that keeps its state in a directory, killed and started again before every call, is one that never died."""

from pathlib import Path

import pytest

from kato_tasks.embedded.kato import kept_file
from kato_tasks.embedded.kato.server import serve_in_thread
from tests.differential.histories import history
from tests.differential.running import Pair, Summary
from tests.reborn import reborn


@pytest.mark.parametrize("changes", [4, 3000], ids=["tables", "journal"])
def test_a_kato_that_dies_before_every_call_answers_random_histories_as_one_that_never_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    monkeypatch.setattr(kept_file, "CHANGES", changes)
    monkeypatch.setattr(kept_file, "SYNCHRONOUS", "OFF")  # no power is cut here
    summary = Summary()
    with serve_in_thread(visible_after=0.0) as never, reborn(tmp_path, visible_after=0.0) as (often, app):
        for index in range(4):
            found = Pair(never, often).run(history(11, index), summary)
            assert found is None, found.shown()
    assert app.deaths > sum(summary.calls.values()) > 40

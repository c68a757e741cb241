"""How a run's tests are shared out, which of them are left out, and which take turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sharing_out
from tests.sharing_out import BY_TEST, longest_first, piece_of, recorded

CHECKOUT = Path(__file__).resolve().parents[2]
TRIED = """
import time
import pytest

@pytest.mark.parametrize("row", ["one", pytest.param("another", marks=pytest.mark.variant)])
def test_a_rule(row):
    pass

@pytest.mark.timed
@pytest.mark.parametrize("run", range(4))
def test_one_at_a_time(run, tmp_path_factory):
    there = tmp_path_factory.getbasetemp().parent / "inside"
    there.mkdir()
    time.sleep(0.1)
    there.rmdir()
"""


def tried(directory: Path, *words: str, processes: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the tests above, each test a piece."""
    (directory / "test_tried.py").write_text(TRIED, encoding="utf-8")
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n  variant\n  timed\n", encoding="utf-8")
    (directory / "conftest.py").write_text(
        "from tests import scheduling\n"
        "scheduling.piece_of = lambda nodeid: nodeid\n"
        'pytest_plugins = ["tests.variants", "tests.scheduling"]\n',
        encoding="utf-8",
    )
    environment = dict(os.environ) | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", str(processes), "--basetemp", str(directory / "tmp"), *words],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_pieces_that_take_longest_begin_first_and_the_tests_of_one_stay_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing_out, "recorded", lambda: {"tests/b.py": 9.0, "tests/c.py": 40.0})
    assert longest_first(["tests/a.py::1", "tests/b.py::2", "tests/c.py::1", "tests/b.py::1", "tests/a.py::2"]) == [
        "tests/c.py::1",
        "tests/b.py::2",
        "tests/b.py::1",
        "tests/a.py::1",
        "tests/a.py::2",
    ]


def test_a_file_that_is_cut_keeps_its_tests_on_rabbitmq_together() -> None:
    file = "tests/integration/test_installed_order.py"
    assert file in BY_TEST
    assert piece_of(f"{file}::test_a[rabbitmq]") == piece_of(f"{file}::test_b[rabbitmq-1]") == f"{file}[rabbitmq]"
    assert piece_of(f"{file}::test_a[redis]") == f"{file}::test_a[redis]"
    assert piece_of("tests/unit/test_names.py::test_a[rabbitmq]") == "tests/unit/test_names.py"


def test_every_file_that_is_cut_or_has_recorded_seconds_is_there() -> None:
    named = BY_TEST | {piece.partition("::")[0].partition("[")[0] for piece in recorded()}
    assert [file for file in sorted(named) if not (CHECKOUT / file).is_file()] == []


def test_variants_are_left_out_and_counted_unless_all_are_asked_for_or_one_is_named(tmp_path: Path) -> None:
    once = tried(tmp_path, processes=2)
    assert once.returncode == 0, once.stdout + once.stderr
    assert "5 passed" in once.stdout
    assert "LEFT OUT: 1 variant of a rule that was proven once; `make test VARIANTS=all` runs it, too" in once.stdout
    for words in (["--variants=all"], ["test_tried.py::test_a_rule[another]"]):
        ran = tried(tmp_path, *words)
        assert f"{1 if '[' in ''.join(words) else 6} passed" in ran.stdout, ran.stdout
        assert "LEFT OUT" not in ran.stdout

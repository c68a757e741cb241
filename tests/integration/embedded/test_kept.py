"""`python -m kato_tasks.embedded --data DIR`: what a process leaves there, and what it refuses to take."""

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from kato_tasks.embedded.kato import kept_file, kept_journal
from kato_tasks.embedded.kato.app import App
from kato_tasks.embedded.kato.kept_file import Unusable
from kato_tasks.embedded.kato.options import Options
from kato_tasks.kato_wire.bodies import Observation

CHECKOUT = Path(__file__).resolve().parents[3]
QUIET = {"process_predictions": False, "max_pattern_length": 0}


class Served:
    """One process and a client of it."""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kato_tasks.embedded", "--port", "0", "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def post(self, path: str, body: Any = None) -> Any:
        return httpx.post(self.url + path, json=body, trust_env=False).raise_for_status().json()

    def get(self, path: str, **query: str) -> Any:
        return httpx.get(self.url + path, params=query, trust_env=False).raise_for_status().json()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=20)
        return self.process.returncode


def refusal(data: Path) -> str:
    """What a process says that is given a directory which it cannot use: one sentence, and exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "kato_tasks.embedded", "--port", "0", "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("the embedded KATO cannot start: ")


def filled(data: Path) -> None:
    """What a killed process leaves: a session in the tables, and another in the journal only."""
    work = data.with_name(f"{data.name}-work")
    for node in ("n", "m"):
        app = App(Options(data=work))
        app.state.kato.sessions.create(node, None, QUIET, {})
        assert app.state.keep()
        if node == "m":
            shutil.copytree(work, data, dirs_exist_ok=True)
        app.state.close()
    shutil.rmtree(work)


def contents(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_session_and_its_patterns_outlive_their_process(tmp_path: Path, number: int) -> None:
    with Served(tmp_path) as first:
        made = first.post(
            "/sessions", {"node_id": "n", "ttl_seconds": 500, "config": QUIET, "metadata": {"who": "ann"}}
        )
        path = f"/sessions/{made['session_id']}"
        for string in ("a", "b"):
            first.post(f"{path}/observe", {"strings": [string], "emotives": {"joy": 0.5}, "metadata": {"page": string}})
        name = first.post(f"{path}/learn")["pattern_name"]
        first.post(f"{path}/observe", {"strings": ["ü 🙂\u0000\n", "a"], "vectors": [[0.1, 0.2]]})
        reads = [path, f"{path}/stm", f"{path}/cognition-data", f"{path}/percept-data", f"{path}/config"]
        before = [first.get(read) for read in reads]
        time.sleep(0.06)  # until the pattern is seen
        pattern = first.get(f"/pattern/{name}", node_id="n")
        assert first.end(number) == (0 if number == signal.SIGTERM else -9)
    with Served(tmp_path) as second:
        after = [second.get(read) for read in reads]
        for each in (before[0], after[0]):
            each.pop("expires_at")
        assert after == before
        assert second.get(f"/pattern/{name}", node_id="n") == pattern
        assert pattern["pattern"]["pattern"]["metadata"] == {"page": ["a", "b"]}
        assert second.get("/_embedded/stats")["sessions_live"] == 1


def test_a_session_whose_time_is_over_while_no_process_runs_is_gone(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        short = first.post("/sessions", {"node_id": "n", "ttl_seconds": 1, "config": QUIET})["session_id"]
        long = first.post("/sessions", {"node_id": "n", "ttl_seconds": 500, "config": QUIET})["session_id"]
        expires = first.get(f"/_embedded/sessions/{long}")["expires"]
        first.end(signal.SIGKILL)
    time.sleep(1.01)
    with Served(tmp_path) as second:
        assert second.get(f"/sessions/{short}/exists")["exists"] is False
        assert second.get(f"/_embedded/sessions/{long}")["expires"] == expires
        assert second.get("/sessions/count")["active_session_count"] == 1


def test_nothing_that_was_answered_is_lost_by_a_kill_in_the_middle_of_the_work(tmp_path: Path) -> None:
    answered: dict[str, int] = {}

    def observe(url: str, session: str) -> None:
        with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, trust_env=False) as http:
            while True:
                answer = http.post(f"/sessions/{session}/observe", json={"strings": ["x" * 9000]})
                answered[session] = answer.json()["time"]

    with Served(tmp_path) as first:
        sessions = [first.post("/sessions", {"node_id": f"n{i}", "config": QUIET})["session_id"] for i in range(3)]
        threads = [threading.Thread(target=observe, args=(first.url, session)) for session in sessions]
        for thread in threads:
            thread.start()
        # Long enough for the journal to go into the tables meanwhile: 4 MB.
        deadline = time.monotonic() + 20
        while sum(answered.values()) < 600 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with Served(tmp_path) as second:
        for session in sessions:
            known = second.get(f"/_embedded/sessions/{session}")
            # One more may have been applied whose answer was not sent.
            assert known["time"] in (answered[session], answered[session] + 1)
            assert len(known["stm"]) == min(known["time"], 1000)


def test_reset_forgets_what_the_directory_holds_too(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        session = first.post("/sessions", {"node_id": "n", "config": QUIET})["session_id"]
        first.post(f"/sessions/{session}/observe", {"strings": ["a", "b"]})
        first.post(f"/sessions/{session}/learn")
        first.post("/_embedded/reset")
        kept = first.post("/sessions", {"node_id": "m", "config": QUIET})["session_id"]
        first.end(signal.SIGKILL)
    with Served(tmp_path) as second:
        assert second.get(f"/sessions/{session}/exists")["exists"] is False
        assert second.get(f"/sessions/{kept}/exists")["exists"] is True
        assert second.get("/_embedded/patterns", node="n") == {}


def test_lost_stores_are_lost_after_a_restart_as_well(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        session = first.post("/sessions", {"node_id": "n", "config": QUIET})["session_id"]
        first.post("/_embedded/faults", {"rules": [{"kind": "lose_all"}]})
        assert httpx.get(f"{first.url}/sessions/{session}/stm", trust_env=False).status_code == 404
        first.end(signal.SIGKILL)
    with Served(tmp_path) as second:
        assert second.get("/sessions/count")["active_session_count"] == 0


def test_a_second_process_on_a_directory_is_refused(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        assert refusal(tmp_path) == f"{tmp_path} is in use by another KATO; stop that one, or give another directory"
        assert first.get("/health")["status"] == "healthy"


def _scribble(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\x99" * 40)


def _longer(path: Path) -> None:
    """Another record behind a damaged one: it was answered."""
    with path.open("ab") as file:
        file.write(path.read_bytes()[len(kept_journal.HEAD) :])
    _scribble(path, len(kept_journal.HEAD) + 20)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda data: (data / "kato.sqlite3").write_text("hello"), "is not a file of the embedded KATO"),
    "foreign": (
        lambda data: (data / "kato.sqlite3").write_bytes(b"SQLite format 3\0" + bytes(984)),
        "is not a file of the embedded KATO",
    ),
    "pages": (lambda data: _scribble(data / "kato.sqlite3", 4096), "is damaged"),
    "rows": (
        lambda data: _executed(data, "UPDATE sessions SET state='[1]'"),
        "is damaged",
    ),
    "newer": (lambda data: _executed(data, "PRAGMA user_version=7"), "is of another version (7, this one writes 1)"),
    "journal": (lambda data: _longer(data / "kato.journal"), "is damaged"),
    "foreign journal": (lambda data: (data / "kato.journal").write_text("a diary"), "is damaged"),
}


def _executed(data: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(data / "kato.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_damaged_or_of_somebody_else_are_refused_in_one_sentence_and_left_alone(
    tmp_path: Path, damage: str
) -> None:
    filled(tmp_path)
    # The process that filled it is gone, and with it what SQLite had not moved yet.
    _executed(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    damaged, said = DAMAGES[damage]
    damaged(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(Unusable, match="and was left as it is") as refused:
        App(Options(data=tmp_path))
    assert said in str(refused.value)
    assert {name: content for name, content in contents(tmp_path).items() if name in before} == before


def test_a_refusal_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "kato.sqlite3").write_text("hello")
    assert "kato.sqlite3 is not a file of the embedded KATO" in refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "file cannot be used: " in refusal(tmp_path / "file")


def test_half_of_the_last_record_is_left_out_as_its_call_was_never_answered(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = tmp_path / "kato.journal"
    whole = journal.read_bytes()
    for cut in (1, 20, len(whole) - len(kept_journal.HEAD) - 1):
        one = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{cut}"))
        (one / "kato.journal").write_bytes(whole[:-cut])
        app = App(Options(data=one))
        assert app.state.kato.sessions.kept() == 1
        app.state.close()


def test_a_journal_that_is_in_the_tables_already_changes_nothing_when_it_is_carried_out_again(tmp_path: Path) -> None:
    app = App(Options(data=tmp_path))
    brain, sessions = app.state.kato.brain, app.state.kato.sessions
    session = sessions.create("n", None, QUIET, {})
    for round_ in range(2):
        for string in ("a", "b"):
            brain.observe(session, Observation([string], [[1.0, float(round_)]], {"joy": 0.5}, {}, None))
            assert app.state.keep()
        brain.learn(session)
        assert app.state.keep()
    brain.observe(session, Observation(["c"], [], {}, {}, None))
    brain.forget(sessions.create("gone", None, QUIET, {}).node)
    assert app.state.keep()
    journal = (tmp_path / "kato.journal").read_bytes()
    app.state.close()
    seen = []
    for _ in range(2):
        # As a process leaves it that was killed after the tables had it all.
        (tmp_path / "kato.journal").write_bytes(journal)
        app = App(Options(data=tmp_path))
        found = app.state.kato.sessions.peek(session.id)
        assert found is not None
        patterns = found.node.patterns
        statistics, vectors = patterns.statistics, app.state.kato.brain.vectors.of("n").kept
        session_state = [found.stm, found.time, found.emotives]
        seen.append([*session_state, patterns.counts, statistics.occurrences, statistics.affinities, vectors])
        app.state.close()
    assert seen[0] == seen[1]
    assert seen[0][:2] == [[["c"]], 5]
    assert sum(patterns.counts.values()) == 2


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Call with True, and nothing more can be written to the journal."""
    full, os_write = False, os.write

    def write(file: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os_write(file, data)

    def switch(now: bool) -> None:
        nonlocal full
        full = now

    monkeypatch.setattr("kato_tasks.embedded.kato.kept_journal.os.write", write)
    return switch


def test_nothing_is_answered_that_could_not_be_written_down_and_it_goes_on_once_it_can(
    tmp_path: Path, full_disk: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(Options(data=tmp_path / "one"))
    session = app.state.kato.sessions.create("n", None, QUIET, {})
    assert app.state.keep()
    full_disk(True)
    session.time = 5
    session.note()
    assert not app.state.keep()
    assert not app.state.keep()
    full_disk(False)
    assert app.state.keep()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    app.state.close()
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("one cannot be written: No space left on device; calls are answered 500 until it can")
    assert second.endswith("can be written again")
    again = App(Options(data=tmp_path / "two"))
    found = again.state.kato.sessions.peek(session.id)
    assert found is not None
    assert found.time == 5
    again.state.close()


def test_the_files_do_not_grow_with_what_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_file, "CHANGES", 50)
    app = App(Options(data=tmp_path))
    sizes = []
    for _ in range(3):
        for number in range(300):
            session = app.state.kato.sessions.create(f"n{number % 10}", None, QUIET, {"text": "x" * 500})
            app.state.keep()
            app.state.kato.sessions.drop(session)
            app.state.keep()
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir() if not path.name.endswith("-wal")))
    long = app.state.kato.sessions.create("long", None, QUIET, {})
    for number in range(1500):
        app.state.kato.brain.observe(long, Observation([f"s{number % 7}"], [], {}, {}, None))
        app.state.keep()
    app.state.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "kato.sqlite3")) as tables:
        assert tables.execute("SELECT count(*) FROM observed").fetchone()[0] <= 64
    assert sizes[-1] <= sizes[0] * 1.5
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 400_000

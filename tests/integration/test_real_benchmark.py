"""`python -m benchmarks.real` measures a KATO that is there, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.real import kato_at
from kato_tasks.testing.services import RedisServer, free_port

CHECKOUT = Path(__file__).resolve().parents[2]


def test_what_is_no_kato_is_refused_in_one_sentence(redis_server: RedisServer) -> None:
    for port in (redis_server.port, free_port()):
        with pytest.raises(SystemExit, match=r"^No KATO answers at http://127\.0\.0\.1:\d+: [^\n]+\.$"):
            kato_at(f"http://127.0.0.1:{port}")


def test_a_running_kato_is_measured_and_the_report_says_what_was_asked(kato_url: str, tmp_path: Path) -> None:
    out = tmp_path / "real.json"
    asked = ["--kato-url", kato_url, "--rows", "lanes", "singles", "--share", "0.02", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.real", *asked, "--processes", "1", "--out", str(out)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, timeout=120)
    report = json.loads(out.read_text())
    assert report["kato"]["processes"] == 1
    assert [(row["name"], row["events"]) for row in report["rows"]] == [("lanes", 800), ("singles", 50)]
    for row in report["rows"]:
        (counters,) = row["counters"]
        assert (counters["appended"], counters["applied"]) == (row["events"], row["events"])
        assert set(counters) <= {"appended", "applied", "moved"}, "nothing was fenced, rebuilt or left over"
    told = "python -m benchmarks.real --kato-url {} --rounds 1 --rows lanes singles --share 0.02"
    assert report["command"] == told.format(kato_url), "no path of this machine is in it"

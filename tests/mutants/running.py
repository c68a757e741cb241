"""Run one test in a copy of the checkout, with a line taken out or as it is."""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.documents import CHECKOUT
from tests.mutants.rows import Guard
from tests.mutants.taking_out import CannotTakeOut, take_out

# A test that waits for what never comes ends by its own deadline; these are for one that does not.
TEST_SECONDS = 150
PROCESS_SECONDS = 240
_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"
)


@dataclass(frozen=True)
class Run:
    """What came of a run: `passed`, `failed`, or `broken` (neither: an error outside of the test, nothing ran)."""

    outcome: str
    seconds: float
    output: str = ""


class Copy:
    """A copy of the checkout; one run at a time."""

    def __init__(self, directory: Path) -> None:
        self._tree = directory / "checkout"
        self._directory = directory
        shutil.copytree(CHECKOUT, self._tree, ignore=_NOT_COPIED)
        # Each run starts several processes, which would compile the package again and again. A mutant is compiled by
        # each: these are valid only for the very source that they were made from, not for its size and second.
        checked = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self._tree / "kato_tasks", quiet=1, invalidation_mode=checked)

    def run(self, test: str) -> Run:
        """Run the test in the copy as it is now."""
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
        command += [f"--timeout={TEST_SECONDS}", f"--basetemp={self._directory / 'tmp'}", test]
        environment = dict(os.environ) | {
            "PYTHONPATH": str(self._tree),  # before the checkout that the environment was installed from
            "PYTHONDONTWRITEBYTECODE": "1",  # a mutant's own, by size and second, could be taken for the next one's
            "COLUMNS": "200",
        }
        with subprocess.Popen(
            command, cwd=self._tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                output, _ = process.communicate(timeout=PROCESS_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()  # the run stops its services
                output, _ = process.communicate()
                return Run("broken", time.monotonic() - started, f"{output}\nit did not end")
        return Run(outcome(process.returncode, output), time.monotonic() - started, output)

    def run_without(self, guard: Guard, test: str) -> Run:
        """Take the guard's line out, run the test, and put the line back."""
        file = self._tree / "kato_tasks" / guard.path
        try:
            source = file.read_text(encoding="utf-8")
            mutant = take_out(guard.path, source, guard.line, guard.without)
        except (CannotTakeOut, OSError) as exc:
            return Run("broken", 0.0, str(exc))
        file.write_text(mutant, encoding="utf-8")
        try:
            return self.run(test)
        finally:
            file.write_text(source, encoding="utf-8")


def outcome(exit_code: int, output: str) -> str:
    """What a run of pytest says. A fixture that raises, or a file that can't be loaded, proves nothing."""
    # What the interpreter says at its end may follow pytest's closing line.
    closing = re.findall(r"^.*\b\d+ (?:passed|failed|errors?|skipped)\b.* in [\d.]+s\b.*$", output, re.MULTILINE)
    last = closing[-1] if closing else ""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)\b", last)}
    if exit_code == 0 and counts.get("passed"):
        return "passed"
    if exit_code == 1 and counts.get("failed"):
        return "failed"
    return "broken"

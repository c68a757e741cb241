"""The example of an application with tests: they are run as its README says, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.acceptance.documents import CHECKOUT

EXAMPLE = CHECKOUT / "examples" / "tested_app"


def test_the_examples_tests_pass_in_one_process_and_with_real_ones() -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KATO_TASKS_", "PYTEST_"))}
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(EXAMPLE)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(EXAMPLE)],
        env=inherited,
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout

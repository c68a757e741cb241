"""What a caller of the tasks may meet is importable from the package itself."""

from __future__ import annotations

import re
from pathlib import Path

import kato_tasks
from kato_tasks import errors

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
MET_BY_CALLERS = {
    "ConfigurationError",
    "EventConflict",
    "EventRefused",
    "InvalidEvent",
    "KatoTasksError",
    "NodeConflict",
    "NotAppliedYet",
    "StoreFailed",
    "StoreFull",
    "StoreUnavailable",
    "TooManyPredicts",
}


def test_every_error_that_a_caller_may_meet_is_a_name_of_the_package() -> None:
    named = {word for word in re.findall(r"`(\w+)`", README) if hasattr(errors, word)}
    for name in MET_BY_CALLERS | named:
        assert getattr(kato_tasks, name) is getattr(errors, name)
        assert name in kato_tasks.__all__
        assert name in dir(kato_tasks)

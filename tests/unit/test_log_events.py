"""The table of log events has what is logged, so a dashboard can be built from it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from kato_tasks.telemetry import log_events

PACKAGE = Path(__file__).resolve().parents[2] / "kato_tasks"
NAME = re.compile(r"[a-z_]+\.[a-z_]+")


def logged() -> dict[str, set[str]]:
    """The names in calls of the form ``f(log, logging.LEVEL, "noun.verbed", …)``, each with its fields.

    A traceback is the field ``error`` of a JSON line.
    """
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and len(call.args) >= 3):
                continue
            if not ast.unparse(call.args[0]).endswith("log"):
                continue
            texts = [one.value for one in ast.walk(call.args[2]) if isinstance(one, ast.Constant)]
            fields = {"error" if one.arg == "exc_info" else str(one.arg) for one in call.keywords}
            for name in (text for text in texts if isinstance(text, str)):
                assert NAME.fullmatch(name), f"{path.name}: {name} is not of the form noun.verbed"
                found[name] = found.get(name, set()) | fields
    return found


def test_every_log_event_is_in_the_table_and_the_table_has_no_other() -> None:
    rows = re.findall(r"^\| (.*?) \|.*\|(.*?)\|$", log_events.__doc__ or "", re.MULTILINE)
    listed = {name: set(re.findall("[a-z_]+", row[1])) - {"or"} for row in rows for name in NAME.findall(row[0])}
    assert logged() == listed
    assert len(listed) > 40

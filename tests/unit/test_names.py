"""What an application names is importable from the package itself, and documented."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import kato_tasks
from kato_tasks import errors

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text()
API_PAGE = (CHECKOUT / "docs" / "python-api.md").read_text()
NEVER_AT_A_CALLER = {
    "ConfigNotTaken",
    "GatewayAnswered",
    "KatoCircuitOpen",
    "KatoError",
    "KatoFailed",
    "KatoMisdirected",
    "KatoRejected",
    "KatoSessionGone",
    "KatoUnavailable",
    "LeaseLost",
    "NoConnectionFree",
    "OutcomeUnknown",
}
"""Errors between a worker and KATO, or between workers: a task's result has EventRefused in their place."""


def test_every_error_that_a_caller_may_meet_is_a_name_of_the_package() -> None:
    all_errors = {name for name, one in vars(errors).items() if inspect.isclass(one)}
    named = {word for word in re.findall(r"`(\w+)`", README) if hasattr(errors, word)}
    for name in (all_errors - NEVER_AT_A_CALLER) | named:
        assert getattr(kato_tasks, name) is getattr(errors, name)
        assert name in kato_tasks.__all__
        assert name in dir(kato_tasks)


def test_the_lists_of_public_names_agree() -> None:
    (block,) = (
        node
        for node in ast.parse(Path(str(kato_tasks.__file__)).read_text()).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    checked = {one.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for one in node.names}
    lazy = {name: home for name, home in kato_tasks._HOMES.items() if name != "celery"}
    assert checked == lazy, "what type checkers see is not what an import gets"
    assert sorted(kato_tasks.__all__) == kato_tasks.__all__ == sorted(lazy)
    assert set(kato_tasks.__all__) <= set(dir(kato_tasks))
    for name in kato_tasks.__all__:
        assert getattr(kato_tasks, name) is not None


def test_the_page_of_the_python_api_has_every_public_name() -> None:
    assert set(kato_tasks.__all__) - set(re.findall(r"\w+", API_PAGE)) == set()


def test_the_page_of_the_python_api_has_the_signatures_of_the_code() -> None:
    found = [one for one in re.findall(r"^def (\w+)\((.*)\)", API_PAGE, re.MULTILINE) if one[0] in kato_tasks.__all__]
    assert {name for name, _ in found} >= {"observe", "predict", "learn", "clear_stm", "append_events", "install"}
    for name, given in found:
        one = getattr(kato_tasks, name)
        real = str(inspect.signature(getattr(one, "run", one)).replace(return_annotation=inspect.Signature.empty))
        assert f"({given})" == real.replace("'", ""), name

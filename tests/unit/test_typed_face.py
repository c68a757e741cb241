"""What type checkers see of the package is true, and both of them see it."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from kato_tasks.domain import results, results_json

CHECKOUT = Path(__file__).resolve().parents[2]
CHECKERS = {
    "mypy": ["mypy", "tests/typing"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}
JSON_OF = {
    "AppliedJson": "Applied",
    "ObservedJson": "Observed",
    "LearnedJson": "Learned",
    "PredictionJson": "Prediction",
    "FuturePotentialJson": "FuturePotential",
    "PredictedJson": "Predicted",
    "RawPredictedJson": "Predicted",
}
NOT_WHEN_EXPIRED = {"stm_length", "time", "unique_id", "pattern_name"}
"""Fields that the answer of an event whose own answer has expired does not have."""
LOOSER = {"anomalies": list[object]}
RAW = {"predictions", "future_potentials"}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_finds_every_call_of_the_face_right_and_every_wrong_call_wrong(checker: str) -> None:
    """In `tests/typing/wrong.py` each line says which error is expected; one that is not found is an error."""
    done = subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker]],
        cwd=CHECKOUT,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", JSON_OF)
def test_the_json_of_a_result_has_the_fields_of_its_model(name: str) -> None:
    shape = getattr(results_json, name)
    fields = getattr(results, JSON_OF[name]).model_fields
    given = typing.get_type_hints(shape)
    assert list(given) == list(fields)
    marked = typing.get_type_hints(shape, include_extras=True)
    optional = {field for field, kind in marked.items() if typing.get_origin(kind) is typing.NotRequired}
    assert optional == NOT_WHEN_EXPIRED & set(fields)
    for field, kind in given.items():
        if field not in RAW:
            assert kind == LOOSER.get(field, fields[field].annotation), field
    if name == "PredictedJson":
        assert (given["predictions"], given["future_potentials"]) == (
            list[results_json.PredictionJson],
            list[results_json.FuturePotentialJson],
        )

"""Load the functions of an application that options name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def own_function(named: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; its module may lie in the working directory.

    Raises ConfigurationError, which says what is missing.
    """
    from kato_tasks.api.decoding import load_function

    here = str(Path.cwd())
    if here not in sys.path:  # as the commands of Celery do
        sys.path.insert(0, here)
    return load_function(named)

"""Make plain JSON of Python values that stand for it: tuples, read-only mappings, arrays, decimals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any


def plain(value: Any) -> Any:
    """Return the value with lists, dictionaries and Python's own numbers throughout. Anything else stays as it is.

    Arrays and scalars of numpy, and everything else that has ``tolist``, become lists and numbers. A set has no order,
    so it stays, and is refused later where a list is due.
    """
    if isinstance(value, dict | Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | int | float | bytes | bytearray | memoryview) and not _is_foreign(value):
        return value
    if isinstance(value, Decimal | Fraction):
        return float(value)
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


def _is_foreign(value: Any) -> bool:
    """Return whether it is one of numpy's scalars, some of which are Python's numbers and texts as well."""
    return hasattr(value, "dtype")

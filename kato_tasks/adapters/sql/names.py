"""Hand many names to one statement, as one JSON text instead of a parameter each."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import TableValuedAlias, Text, cast, func, literal
from sqlalchemy.dialects.postgresql import JSON


def each_of(names: Sequence[str], is_sqlite: bool) -> TableValuedAlias:
    """Return a table with the column ``value``, which has a row for each of the names (as the table holds them)."""
    text = json.dumps(list(names))
    if is_sqlite:
        return func.json_each(text).table_valued("value")
    return func.json_array_elements_text(cast(literal(text, Text), JSON)).table_valued("value")


__all__ = ["each_of"]

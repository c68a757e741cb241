"""Sentences about names that are not known, with the nearest known name. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from kato_tasks.domain.json_text import ascii_dumps, dumps

UnknownKeys = Literal["refuse", "warn", "pass"]
"""What becomes of a key that is not known: the event is refused, or there is a warning, or it is left out silently."""
_PLAIN = re.compile(r"[^\W\d][\w-]*")
_ODD = re.compile(r"[_\s-]")
SHOWN_CHARS = 60


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None where no known name is like it."""
    by_letters: dict[str, str] = {}
    for candidate in known:
        by_letters.setdefault(_letters(candidate), candidate)
    found = get_close_matches(_letters(name), by_letters, n=1, cutoff=0.7)
    return by_letters[found[0]] if found else None


def _letters(name: str) -> str:
    """Return a name without what people write differently: case, ``_`` and ``-`` (``sessionId``, ``session_id``)."""
    return _ODD.sub("", name).lower()


def step(key: object) -> str:
    """Return one step of a place, to be written after the steps before it: ``.joy``, ``[3]``, ``["two words"]``."""
    if isinstance(key, int):
        return f"[{key}]"
    text = str(key)
    if _PLAIN.fullmatch(text) and len(text) <= SHOWN_CHARS:
        return f".{text}"
    return f"[{shown(text)}]"


def place(path: Iterable[object]) -> str:
    """Return where something is: ``observation.strings[1]``, ``events[0].metadata["two words"]``."""
    return "".join(step(key) for key in path).removeprefix(".")


def shown(value: object) -> str:
    """Return a value as it stands in a sentence: on one line, cut, with what no terminal can show escaped."""
    text = value if isinstance(value, str) else _repr(value)
    if len(text) > SHOWN_CHARS:
        text = f"{text[: SHOWN_CHARS - 1]}…"
    if isinstance(value, str):
        return dumps(text) if text.isprintable() else ascii_dumps(text)
    return text if text.isprintable() else ascii(text)[1:-1]


def _repr(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        return "a very large number"  # of more digits than Python writes


def unknown_key(key: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> str:
    """Return what is wrong with a key that is not known. ``elsewhere`` maps keys of other places to these."""
    if key in elsewhere:
        return f"is not a known key here; {elsewhere[key]}"
    meant = nearest(key, known)
    if meant is not None:
        return f'is not a known key; did you mean "{meant}"?'
    there = nearest(key, elsewhere)
    if there is not None:
        return f"is not a known key; {elsewhere[there]}"
    return f"is not a known key; the known ones are {', '.join(sorted(known))}"


def unknown_among(given: Mapping[Any, Any], known: frozenset[str]) -> list[Any]:
    """Return the keys that are not known, in their order."""
    return [] if given.keys() <= known else [key for key in given if key not in known]

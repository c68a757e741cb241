r"""Make text safe for a terminal or a log: what would control it, or hide or reorder other text, is written out.

A control character (an escape sequence, a line break, a tab, NUL), a format character (a change of direction, a joiner
of zero width), a line separator and half of a surrogate pair become ``\n``, ``\t``, ``\r``, ``\x1b``, ``\u202e`` or
``\U000e0020``: the form that the shells' ``$'…'`` and Python read back.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control, format, surrogate, line and paragraph separator."""
_WRITTEN_OUT = re.compile(r"\\(?:[nrt\\]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_READ_BACK = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
CUT = "…"


def visible(text: str) -> str:
    """Return a sentence or a value as one line that controls no terminal. What is written out already stays so."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def visible_id(text: str, most: int | None = None) -> str:
    r"""Return an id in the same form, without ambiguity: its own backslashes are doubled, so ``\n`` is a line break.

    Where it takes more than ``most`` characters its middle is left out; the two ends tell ids apart.
    """
    shown = [r"\\" if char == "\\" else _shown(char) for char in text]
    if most is None or sum(map(len, shown)) <= most:
        return "".join(shown)
    room = most - len(CUT)
    tail = _last_that_fit(shown, room // 2)
    head = _last_that_fit(shown[::-1], room - sum(map(len, tail)))[::-1]
    return f"{''.join(head)}{CUT}{''.join(tail)}"


def written_back(shown: str) -> str | None:
    """Return the id that ``visible_id`` shows like this; None where it shows none so, or writes nothing out."""
    if "\\" not in shown or "\\" in _WRITTEN_OUT.sub("", shown):
        return None
    return _WRITTEN_OUT.sub(lambda found: _READ_BACK.get(found[0]) or _char(found[0]), shown)


def shell_word(text: str) -> str:
    """Return a value as one word of a shell's command line."""
    if re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII):
        return text
    if visible(text) == text:
        return "'" + text.replace("'", "'\"'\"'") + "'"
    return "$'" + visible_id(text).replace("'", r"\'") + "'"


def visible_json(text: str) -> str:
    """Return a JSON document with such characters in its strings escaped. Its own line breaks stay."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(map(_shown_in_json, text))


def _char(escape: str) -> str:
    """Return the character that is written out like this. What is no character stays."""
    code = int(escape.lstrip("\\xuU"), base=16)
    return chr(code) if code <= sys.maxunicode else escape


def _last_that_fit(shown: list[str], room: int) -> list[str]:
    first = len(shown)
    while first and len(shown[first - 1]) <= room:
        first -= 1
        room -= len(shown[first])
    return shown[first:]


@lru_cache(maxsize=4_096)
def _shown(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    # Bytes for the shell end at 7f: beyond, \x85 would be half of a character there.
    wide = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _NAMED.get(char) or (f"\\x{code:02x}" if code < 0x80 else wide)


@lru_cache(maxsize=4_096)
def _shown_in_json(char: str) -> str:
    if char < " " or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"

"""The names that a Lua script makes and reads: as much of a reader of Lua as the scripts of the store need."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[A-Za-z_]\w*")
KEYWORDS = frozenset(
    _WORD.findall(
        "and break do else elseif end false for function if in local nil not or repeat return then true until while"
    )
)
OF_REDIS = frozenset(
    _WORD.findall("ARGV KEYS cjson error ipairs math pairs pcall redis string table tonumber tostring type unpack")
)
"""What Redis and Lua give every script; others among Lua's globals are used by none."""
_TOKEN = re.compile(r"[A-Za-z_]\w*|\.\.+|[=~<>]=|\S")
_NOT_CODE = re.compile(r"--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")


def code_of(source: str) -> str:
    """The source without comments, and with every text empty."""
    return _NOT_CODE.sub(lambda found: "" if found[0].startswith("--") else "''", source)


def made_names(source: str) -> set[str]:
    """Names of local variables, functions and their parameters, and variables of loops."""
    code = code_of(source)
    lists = re.findall(r"\blocal\s+(?!function\b)([\w\s,]+?)\s*(?:=|\n)", code)
    lists += re.findall(r"\bfor\s+([\w\s,]+?)\s*(?:=|\bin\b)", code)
    lists += re.findall(r"\bfunction\b[^(\n]*\(([^)]*)\)", code)
    lists += re.findall(r"\bfunction\s+(\w+)", code)
    return {name for several in lists for name in re.findall(r"\w+", several)}


def read_names(source: str) -> set[str]:
    """Names that stand for a value: fields of tables and keys in their constructors are left out."""
    return {
        name
        for before, name, after, braces in _names(source)
        if before not in (".", ":") and not (braces and before in ("{", ",") and after == "=")
    }


def _names(source: str) -> Iterator[tuple[str, str, str, int]]:
    """Each name with the token before and after it, and in how many braces it stands."""
    tokens = ["", *_TOKEN.findall(code_of(source)), ""]
    braces = 0
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        braces += {"{": 1, "}": -1}.get(token, 0)
        if _WORD.match(token) and token not in KEYWORDS:
            yield before, token, after, braces

"""Reads settings from the environment, then from a ``.env`` file, and says in one sentence what is wrong with one.

A variable with our prefix that is not a setting is refused as a typing error, and the error names the nearest setting.
Two kinds of variables have the prefix and are ignored: those that Kubernetes (and Docker's links) make for a service
called ``kato-tasks`` or ``kato-tasks-…``, and all others if ``KATO_TASKS_UNKNOWN_SETTINGS=pass``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from kato_tasks.domain.known_names import nearest, shown
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings.checks import PREFIX, variable

ENV_FILE = ".env"
LET_BE = "unknown_settings"
_OF_A_SERVICE = re.compile(r"(.*_)?SERVICE_(HOST|PORT(_\w+)?)|(.*_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_PORT_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Found:
    """The texts of settings, and where each was found, both by the setting's name."""

    texts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


def read_settings(known: Collection[str]) -> Found:
    """Read the known settings from the environment and ``.env``.

    Raises ConfigurationError for a ``.env`` that cannot be read, and for an unknown name with our prefix.
    """
    texts: dict[str, str] = {}
    origins: dict[str, str] = {}
    unknown: list[tuple[str, str]] = []
    for origin, values in ((ENV_FILE, _env_file()), ("environment", os.environ)):
        for full, text in values.items():
            if not full.upper().startswith(PREFIX):
                continue
            name = full[len(PREFIX) :].lower()
            if name not in known:
                if not _is_of_a_service(full, text or ""):
                    unknown.append((full, origin))
            elif text is None:
                raise ConfigurationError(f"{full} in {origin} has no value; write {full}=…")
            else:
                texts[name], origins[name] = text, origin
    if unknown and texts.get(LET_BE) != "pass":
        raise ConfigurationError(_not_a_setting(*min(unknown), known))
    return Found(texts, origins)


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Raise ConfigurationError if code gives a setting by a name that no setting has."""
    for name in given:
        if name not in known:
            meant = nearest(name, known)
            raise ConfigurationError(f"{name} is not a setting" + (f"; did you mean {meant}?" if meant else ""))


def _env_file() -> Mapping[str, str | None]:
    """Return the names and values of ``.env``, if there is one. A virtual environment of that name is ignored."""
    path = Path(ENV_FILE)
    try:
        if not path.exists() or (path / "pyvenv.cfg").exists():
            return {}
        if path.is_dir():
            raise ConfigurationError(f"{ENV_FILE} is a directory; settings are read from a file of that name: move it")
        # utf-8-sig, because the mark that some editors put before the first line would become part of its name.
        return dotenv_values(path, encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigurationError(
            f"{ENV_FILE} is not UTF-8 (byte {exc.start}): convert it, for example with iconv -f latin1 -t utf-8"
        ) from None
    except OSError as exc:
        raise ConfigurationError(
            f"{ENV_FILE} cannot be read ({exc.strerror}): correct its rights, or move it"
        ) from None


def _is_of_a_service(full: str, text: str) -> bool:
    name = full.upper()[len(PREFIX) :]
    if _OF_A_SERVICE.fullmatch(name):
        return True
    return (name == "PORT" or name.endswith("_PORT")) and _PORT_OF_A_SERVICE.match(text) is not None


def _not_a_setting(full: str, origin: str, known: Collection[str]) -> str:
    meant = nearest(full[len(PREFIX) :], known)
    where = "" if origin == "environment" else f" in {origin}"
    if meant is not None:
        return f"{full}{where} is not a setting; did you mean {variable(meant)}?"
    return f"{full}{where} is not a setting; unset it, or ignore such names with {variable(LET_BE)}=pass"


# -------------------------------------------------------------------------------- what is wrong

_NUMBER = {"int_parsing", "int_parsing_size", "int_from_float", "int_type"}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def sentence(exc: ValidationError) -> str:
    """Return one sentence about the first error, with its variable. A value that may be a secret is not shown."""
    first = exc.errors(include_url=False)[0]
    reason = _reason(first["type"], first["input"], first.get("ctx", {}), first["msg"])
    return f"{variable(str(first['loc'][0]))}: {reason}" if first["loc"] else reason


def _reason(kind: str, value: Any, context: Mapping[str, Any], message: str) -> str:
    if kind == "value_error":
        return str(context.get("error", message))
    instead = "and is empty" if value == "" else f"not {shown(value)}"
    if kind in _NUMBER:
        return f"must be a whole number, {instead}"
    if kind in ("float_parsing", "float_type"):
        return f"must be a number, {instead}"
    if kind == "finite_number":
        return f"must be a finite number, not {value}"
    if kind in ("bool_parsing", "bool_type"):
        return f"must be true or false, {instead}"
    if kind == "literal_error":
        return f"must be {context['expected']}, {instead}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, not {value}"
    return f"must be text, not {type(value).__name__}" if kind == "string_type" else "has a value of a wrong kind"

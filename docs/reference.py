"""The pages of settings and commands: what the settings' own descriptions and each command's ``--help`` say."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from typing import Any

import click
from pydantic import SecretStr

from kato_tasks.cli import kato
from kato_tasks.settings import Settings

UNITS = {
    "seconds": "s", "hours": "h", "days": "days", "bytes": "bytes", "chars": "characters", "url": "address",
    "urls": "addresses", "bootstrap": "addresses", "backend": "address", "events": "events", "retries": "attempts",
}  # fmt: skip


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Environment variables, or lines of a `.env` file in the working directory. `kato-tasks config` prints the",
        "effective ones and where each comes from, passwords hidden.",
        "",
        "Commands and workers read them at their start. An application reads them when it first uses kato_tasks, or",
        "hands in others with `kato_tasks.make_app(Settings(shards=4))`, by these names in lower case",
        "([how](celery.md#settings-from-the-environment-or-from-code)).",
        "",
        "A value that cannot work is refused in one sentence with its variable's name, and so is a variable of this",
        "prefix that is no setting, with the nearest one that is. A command ends with that sentence, an application",
        "gets it as `ConfigurationError`; `UNKNOWN_SETTINGS=pass` lets other names be; those that Kubernetes makes of",
        "a service called `kato-tasks` are never taken for settings.",
        "",
        "This page is written by `docs/generate.py` from `kato_tasks/settings/model.py`.",
        "",
        "| variable | default | unit | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        meaning = field.description or ""
        choices = getattr(field.annotation, "__args__", ()) if "Literal" in str(field.annotation) else ()
        if choices:
            meaning += f" ({', '.join(f'`{choice}`' for choice in choices)})"
        lines.append(f"| `KATO_TASKS_{name.upper()}` | {_default(field)} | {_unit(name)} | {meaning} |")
    lines += [
        "",
        "`RENEW_SECONDS` must be at most half of `LEASE_SECONDS`. What stops workers must wait longer than",
        "`SLICE_SECONDS` + `KATO_TIMEOUT_SECONDS` ([operations.md](operations.md#stopping)).",
    ]
    return "\n".join(lines) + "\n"


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if value != "" else "empty"


def _unit(name: str) -> str:
    return UNITS.get(name.rsplit("_", 1)[-1], "")


def commands_page(page: str) -> str:
    """docs/cli.md with the reference of all commands in its marked place, as ``--help`` tells it."""
    reference = "\n".join(_command(kato, ("kato-tasks",)))
    return re.sub(
        r"<!-- commands -->\n.*?<!-- /commands -->",
        lambda _: f"<!-- commands -->\n{reference}<!-- /commands -->",
        page,
        flags=re.DOTALL,
    )


def _command(command: click.Command, words: tuple[str, ...]) -> list[str]:
    context = click.Context(command, info_name=" ".join(words), help_option_names=["-h", "--help"])
    lines: list[str] = []
    if len(words) > 1:
        usage = " ".join([*words, *command.collect_usage_pieces(context)])
        lines += [f"### {' '.join(words)}", "", f"`{usage}`", "", *_told(command.help or ""), ""]
    records = [param.get_help_record(context) for param in command.params if isinstance(param, click.Option)]
    rows = [_cell(record) for record in records if record is not None]
    if rows:
        lines += ["| option | what it does |", "|---|---|", *rows, ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            lines += _command(below, (*words, name))
    return lines


def _cell(record: tuple[str, str]) -> str:
    names, told = (" ".join(text.replace("|", "\\|").split()) for text in record)
    return f"| `{names}` | {told} |"


def _told(text: str) -> list[str]:
    """A command's own description, in lines of this documentation."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            lines += ["```sh", *(line.strip() for line in paragraph.splitlines()[1:]), "```", ""]
        else:
            flowing = " ".join(paragraph.split())
            lines += [*textwrap.wrap(flowing, 118, break_long_words=False, break_on_hyphens=False), ""]
    return lines[:-1]

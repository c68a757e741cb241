"""``kato-tasks config``."""

from __future__ import annotations

import json

import click

from kato_tasks.cli.output import show_json, show_table


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def config(as_json: bool) -> None:
    """Print the effective settings, secrets hidden. Each is an environment variable KATO_TASKS_<NAME>."""
    from kato_tasks.settings import Settings, settings

    shown = settings().shown()
    if as_json:
        show_json(shown)
        return
    rows = []
    for name, value in shown.items():
        text = ",".join(value) if name == "kato_urls" else value if isinstance(value, str) else json.dumps(value)
        rows.append((f"KATO_TASKS_{name.upper()}", text, Settings.model_fields[name].description or ""))
    show_table(("setting", "value", ""), rows)

"""Provide ``kato-tasks config``, which prints the settings."""

from __future__ import annotations

import json

import click

from kato_tasks.cli.output import show_json, show_table


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
def config(as_json: bool) -> None:
    """Print the effective settings and where each one comes from. Secrets are hidden.

    Each setting is an environment variable KATO_TASKS_<NAME>, or a line of .env in this directory.
    """
    from kato_tasks.celery_tasks.app.home import addresses, installed
    from kato_tasks.settings import Settings, settings

    effective, of_the_app = settings(), addresses()
    shown = {**effective.shown(), **of_the_app}
    if as_json:
        show_json(shown)
        return
    rows = []
    for name, value in shown.items():
        text = ",".join(value) if name == "kato_urls" else value if isinstance(value, str) else json.dumps(value)
        origin = "Celery app" if installed() and name in of_the_app else effective.origin(name)
        meaning = Settings.model_fields[name].description or ""
        rows.append((f"KATO_TASKS_{name.upper()}", text, origin, meaning))
    show_table(("setting", "value", "from", "meaning"), rows)

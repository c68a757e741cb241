#!/usr/bin/env python3
"""Writes what the documentation takes from elsewhere: settings, commands, drawings, schemas, the measured figures.

    python docs/generate.py

A test compares what stands there with what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from docs import asyncapi, drawings, figures, reference, schemas  # noqa: E402

PAGES: dict[str, Callable[[str], str]] = {
    "docs/settings.md": lambda _: reference.settings_page(),
    "docs/cli.md": reference.commands_page,
    "docs/architecture.md": drawings.architecture_page,
    "README.md": figures.readme_page,
    schemas.EVENT_FILE: lambda _: schemas.text_of(schemas.event_schema()),
    schemas.RESULTS_FILE: lambda _: schemas.text_of(schemas.results_schema()),
    asyncapi.FILE: lambda _: schemas.text_of(asyncapi.document()),
}
"""Each page and how its text is made of the text that it has."""


def main() -> None:
    """Write every page that has generated parts."""
    for name, write in PAGES.items():
        page = CHECKOUT / name
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        page.write_text(write(text), encoding="utf-8")


if __name__ == "__main__":
    main()

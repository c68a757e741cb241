"""Provide a command whose help lists its options under headings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_SECTION = "kato_tasks_section"
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Grouped(click.Command):
    """Shows options by the section that ``section`` put them into, and the others last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options to the help, section by section."""
        found: dict[str, list[tuple[str, str]]] = {}
        others = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            title = getattr(parameter, _SECTION, None)
            if record is None or isinstance(parameter, click.Argument):
                continue
            if title is None:
                others.append(record)
            else:
                found.setdefault(title, []).append(record)
        for title, records in [*found.items(), ("Help", others)]:
            with formatter.section(title):
                formatter.write_dl(records)


def section(title: str, *options: Callable[[_Function], _Function]) -> Callable[[_Function], _Function]:
    """Return a decorator that adds these click options under this heading."""

    def decorate(function: _Function) -> _Function:
        for option in reversed(options):
            before = len(getattr(function, "__click_params__", ()))
            function = option(function)
            for parameter in getattr(function, "__click_params__", ())[before:]:
                setattr(parameter, _SECTION, title)
        return function

    return decorate

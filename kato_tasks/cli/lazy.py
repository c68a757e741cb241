"""A click group whose commands are loaded when they are used, and whose errors are one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from kato_tasks.errors import ConfigurationError, InvalidEvent, KatoTasksError, StoreUnavailable

BAD_INPUT = 1
UNUSABLE = 2
INTERRUPTED = 130


class Failure(click.ClickException):
    """A command that ends with one sentence on stderr and this exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class, and reads the instance


class LazyGroup(click.Group):
    """``table``: name → ``module:attribute``. What is not installed yet or without its extra is left out."""

    def __init__(self, name: str, table: Mapping[str, str], **options: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **options)
        self._table = dict(table)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = self._table.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as exc:
            if exc.name == module:
                return None
            raise
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KatoTasksError as exc:
            raise failure(exc) from None
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def failure(exc: KatoTasksError) -> Failure:
    """An error of ours as what the person at the terminal reads, and its exit code."""
    if isinstance(exc, StoreUnavailable):
        return Failure(store_sentence(exc), UNUSABLE)
    if isinstance(exc, ConfigurationError):
        return Failure(str(exc), UNUSABLE)
    if isinstance(exc, InvalidEvent):
        return Failure(str(exc), BAD_INPUT)
    return Failure(str(exc), getattr(exc, "exit_code", BAD_INPUT))


def store_sentence(exc: StoreUnavailable) -> str:
    """What to do when the store does not answer."""
    from kato_tasks.settings import hide_secrets, settings

    said = str(exc).rstrip(".")
    if "does not answer" not in said:
        return said
    where = hide_secrets(settings().store_url)
    return f"{said}; start Redis at {where}, or set KATO_TASKS_STORE_URL to where it runs"

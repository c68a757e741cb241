"""Provide a click group whose commands are loaded when they are used, and whose errors are one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from kato_tasks.domain.visible import visible
from kato_tasks.errors import (
    ArchiveUnavailable,
    BrokerUnavailable,
    ConfigurationError,
    InvalidEvent,
    KatoTasksError,
    StoreUnavailable,
)

BAD_INPUT = 1
UNUSABLE = 2
INTERRUPTED = 130


class Failure(click.ClickException):
    """Raised to end the command with one sentence on stderr and this exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class, and reads the instance


class Group(click.Group):
    """Lists its commands in the order in which they were declared, and reports each error as one visible sentence.

    If a command does not exist, the error suggests the nearest one that does.
    """

    sections: Mapping[str, Sequence[str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the signature is click's
        """Return the names of the commands in the order in which they were declared."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands to the help, under their headings."""
        left = self.list_commands(ctx)
        for heading, names in [*self.sections.items(), ("Commands", left)]:
            found = [(name, self.get_command(ctx, name)) for name in names if name in left]
            left = [name for name in left if name not in names]
            # Each command shows its whole first sentence: a long one is wrapped, not cut.
            rows = [(name, command.get_short_help_str(500)) for name, command in found if command is not None]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name. Raises UsageError, which suggests the nearest command."""
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        known = self.list_commands(ctx)
        near = difflib.get_close_matches(name, known, cutoff=0.6) or [one for one in known if one.startswith(name[:3])]
        meant = f"did you mean {' or '.join(near[:2])}?" if near else f"there are {', '.join(known)}"
        raise click.UsageError(f"{ctx.command_path} has no command {name!r}; {meant}", ctx)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Make the command's context. Every error is raised with control characters written out."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as exc:
            raise _visible(exc) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Every error is raised with control characters written out."""
        try:
            return super().invoke(ctx)
        except click.ClickException as exc:
            raise _visible(exc) from None


class LazyGroup(Group):
    """Loads each command when it is used. ``table`` maps its name to ``module:attribute``.

    A command whose module is not installed, or whose extra is missing, is left out.

    ``sections`` holds the headings under which ``--help`` lists the commands. Commands without a heading come last.
    """

    def __init__(
        self, name: str, table: Mapping[str, str], sections: Mapping[str, Sequence[str]] | None = None, **options: Any
    ) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **options)
        self._table = dict(table)
        self.sections = dict(sections or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands: first those under a heading, then the others."""
        placed = [name for names in self.sections.values() for name in names if name in self._table]
        return [*placed, *(name for name in self._table if name not in placed), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load and return the command of that name, or None if there is no such command."""
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
        """Run the command, and turn errors of kato_tasks into failures with an exit code."""
        try:
            return super().invoke(ctx)
        except KatoTasksError as exc:
            raise _visible(failure(exc)) from None
        except UnicodeEncodeError as exc:
            # Python turns bytes of an argument that are not UTF-8 into text that cannot be written anywhere.
            said = f"{str(exc.object)!r} is no valid Unicode text; give it in UTF-8"
            raise Failure(visible(said), BAD_INPUT) from None
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def _visible(exc: click.ClickException) -> click.ClickException:
    """Return the same error. Its sentence has control characters written out."""
    exc.message = visible(exc.message)  # type: ignore[misc]  # click never changes it itself
    return exc


def failure(exc: KatoTasksError) -> Failure:
    """Return an error of ours as the sentence that the person at the terminal reads, with its exit code."""
    if isinstance(exc, StoreUnavailable):
        return Failure(store_sentence(exc), UNUSABLE)
    if isinstance(exc, (ConfigurationError, ArchiveUnavailable, BrokerUnavailable)):
        return Failure(str(exc), UNUSABLE)
    if isinstance(exc, InvalidEvent):
        return Failure(str(exc), BAD_INPUT)
    return Failure(str(exc), getattr(exc, "exit_code", BAD_INPUT))


def store_sentence(exc: StoreUnavailable) -> str:
    """Return a sentence that says what to do when the store does not answer."""
    from kato_tasks.settings import hide_secrets, settings

    said = str(exc).rstrip(".")
    if "does not answer" not in said:
        return said
    where = hide_secrets(settings().store_url)
    return f"{said}; start Redis at {where}, or set KATO_TASKS_STORE_URL to where it runs"

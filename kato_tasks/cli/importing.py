"""``kato-tasks import``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import click

from kato_tasks.cli.lazy import BAD_INPUT, INTERRUPTED, UNUSABLE, Failure, store_sentence
from kato_tasks.cli.output import bar_width, count, put, room_beside_bar, seconds, show_json, talk
from kato_tasks.domain.visible import visible_id
from kato_tasks.errors import StoreUnavailable
from kato_tasks.importer import BadInput, Columns, Importer, ImportStore, Progress, Rejects, Summary, open_source
from kato_tasks.importer.records import Form

TALK_SECONDS = 5.0


@click.command("import")
@click.argument("file")
@click.option("--session", metavar="COLUMN", help="The column that holds the session id.")
@click.option("--node", metavar="NODE_ID", help="One node for every row, by its id. Default: the session's own.")
@click.option("--node-column", metavar="COLUMN", help="The column that holds the node_id.")
@click.option("--strings", metavar="A,B", default="", help="Columns whose cells become strings; empty cells do not.")
@click.option("--prefix", is_flag=True, help="Write a string as column:value.")
@click.option("--emotive", "emotives", metavar="NAME=COLUMN", multiple=True, help="An emotive. May be repeated.")
@click.option("--timestamp", metavar="COLUMN", help="The column that holds the time (ISO 8601).")
@click.option("--metadata", metavar="A,B", default="", help="Columns that go into the observation's metadata.")
@click.option("--learn", is_flag=True, help="Learn at each session's end, which is the file's end.")
@click.option("--last-line", is_flag=True, help="FILE is complete: take its last line, though it has no line end.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="Default: by the file's name.")
@click.option("--delimiter", help="Of a CSV: one of , ; | or tab. Default: found out from the header.")
@click.option("--rejects", type=click.Path(path_type=Path), help="Default: FILE.rejects.jsonl")
@click.option("--strict", is_flag=True, help="Exit with 1 when any row was rejected, not only when all were.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def import_file(
    file: str,
    session: str | None,
    node: str | None,
    node_column: str | None,
    strings: str,
    prefix: bool,
    emotives: tuple[str, ...],
    timestamp: str | None,
    metadata: str,
    learn: bool,
    last_line: bool,
    form: Form | None,
    delimiter: str | None,
    rejects: Path | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Import FILE (- for standard input): a CSV with a header, or JSON lines.

    JSON lines are standard KATO events, or flat objects when columns are mapped as for a CSV.
    The same file imported again adds nothing; a file that has grown adds its new rows; an import that was
    stopped is taken up by the same command. Rows that are no events go to the rejects file. A last line
    without a line end may be half of one that is being written: it is left for the next import, and so are
    the learns, unless --last-line says that FILE is complete.

    \b
    kato-tasks import log.csv --session case_id --strings activity --timestamp timestamp --learn
    """  # noqa: D301  # \b is click's own mark, the character
    columns = Columns(
        session=session,
        node=node,
        node_column=node_column,
        strings=_names(strings),
        emotives=tuple(_emotive(text) for text in emotives),
        timestamp=timestamp,
        metadata=_names(metadata),
        prefix=prefix,
    )
    summary = Summary()
    try:
        _run(file, columns, form or _form_of(file), _delimiter(delimiter), learn, last_line, rejects, summary)
    except BadInput as exc:
        raise Failure(str(exc), BAD_INPUT) from None
    except StoreUnavailable as exc:
        raise Failure(_interrupted_store(exc, file, summary), UNUSABLE) from None
    except KeyboardInterrupt:
        talk(f"stopped {_where(file, summary)}; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED) from None
    _report(summary, rejects or _default_rejects(file), as_json)
    if summary.left_for_later:
        talk(
            f"the last line of {file} has no line end, so it may be half of one: it was left for the next import"
            f"{', and so were the learns' if learn else ''}; add --last-line if the file is complete"
        )
    if summary.rejected and (strict or summary.rejected == summary.rows):
        raise click.exceptions.Exit(BAD_INPUT)


def _run(
    file: str,
    columns: Columns,
    form: Form,
    delimiter: str | None,
    learn: bool,
    last_line: bool,
    rejects_path: Path | None,
    summary: Summary,
) -> None:
    columns.check()
    rejects = Rejects(rejects_path or _default_rejects(file))
    with open_source(file, complete=last_line) as source:
        # After the file: a wrong path need not wait for Redis and Celery.
        from kato_tasks.api import append_entries
        from kato_tasks.bootstrap import runtime

        rt = runtime()
        with _progress(file) as progress:
            importer = Importer(
                append=lambda entries: append_entries(rt, entries),
                store=ImportStore(rt.redis),
                rejects=rejects,
                limits=rt.settings.limits,
                columns=columns,
                form=form,
                delimiter=delimiter,
                learn=learn,
                on_progress=progress.show,
                summary=summary,
            )
            try:
                importer.run(source)
            finally:
                rejects.close()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _emotive(text: str) -> tuple[str, str]:
    name, found, column = text.partition("=")
    if not found or not name or not column:
        raise Failure(f"--emotive {text!r} is not NAME=COLUMN; write for instance --emotive mood=score", BAD_INPUT)
    return name, column


def _delimiter(text: str | None) -> str | None:
    if text is None:
        return None
    text = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(text) != 1 or text in '"\r\n':
        raise Failure(f"--delimiter {text!r} is not one character; give one of , ; | or tab", BAD_INPUT)
    return text


def _form_of(file: str) -> Form:
    suffixes = [suffix for suffix in Path(file).suffixes if suffix != ".gz"]
    if file == "-" or (suffixes and suffixes[-1].lower() in (".jsonl", ".ndjson", ".json")):
        return "jsonl"
    return "csv"


def _default_rejects(file: str) -> Path:
    return Path("stdin.rejects.jsonl" if file == "-" else f"{file}.rejects.jsonl")


def _where(file: str, summary: Summary) -> str:
    name = "standard input" if file == "-" else file
    return f"at about line {summary.line:,} of {name}, with {count(summary.appended, 'event')} appended"


def _interrupted_store(exc: StoreUnavailable, file: str, summary: Summary) -> str:
    if not summary.line and not summary.appended:
        return f"{store_sentence(exc)}; nothing was imported"
    return f"{store_sentence(exc)}; the import stopped {_where(file, summary)}: run the same command again to go on"


def _report(summary: Summary, rejects: Path, as_json: bool) -> None:
    if as_json:
        show_json({**summary.as_json(), "rejects": str(rejects) if summary.rejected else None})
        return
    parts = [f"{count(summary.rows, 'row')}: {summary.appended:,} appended"]
    if summary.duplicates:
        parts.append(f"{summary.duplicates:,} known from before")
    if summary.rejected:
        parts.append(f"{summary.rejected:,} rejected (see {rejects})")
    if summary.learns:
        parts.append(f"{count(summary.learns, 'learn')} at sessions' ends")
    rate = summary.as_json()["rows_per_second"]
    put(f"{', '.join(parts)}; {seconds(summary.seconds)}, {rate:,} rows/s")


class _Shown(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None: ...


def _progress(file: str) -> _Shown:
    return _Bar(visible_id(Path(file).name, room_beside_bar())) if sys.stderr.isatty() else _Lines()


class _Lines:
    """A line on stderr every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + TALK_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + TALK_SECONDS
        summary = progress.summary
        text = f"{count(summary.rows, 'row')}, {summary.rows / max(summary.seconds, 1e-9):,.0f}/s"
        if progress.total and progress.position:
            part = min(1.0, progress.position / progress.total)
            text += f", {part:.0%}, {seconds(summary.seconds * (1 / part - 1))} left"
        talk(text)


class _Bar:
    """A bar on the terminal: rows, rate, remaining time."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Display

        self._display = Display(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width()),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]} rows"),
            TextColumn("{task.fields[rate]} rows/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = self._display.add_task(name, total=None, rows="0", rate="0")

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def show(self, progress: Progress) -> None:
        summary = progress.summary
        self._display.update(
            self._task,
            total=progress.total,
            completed=progress.position,
            rows=f"{summary.rows:,}",
            rate=f"{summary.rows / max(summary.seconds, 1e-9):,.0f}",
        )

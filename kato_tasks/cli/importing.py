"""Provide ``kato-tasks import``, which appends a file's events."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import click

from kato_tasks.cli.interrupts import Interrupts
from kato_tasks.cli.lazy import BAD_INPUT, INTERRUPTED, UNUSABLE, Failure, store_sentence
from kato_tasks.cli.output import bar_width, count, put, room_beside_bar, seconds, show_json, talk
from kato_tasks.cli.sections import Grouped, section
from kato_tasks.domain.visible import visible_id
from kato_tasks.errors import StoreUnavailable
from kato_tasks.importer import (
    BadInput,
    Changed,
    Columns,
    Importer,
    MendedImporter,
    Progress,
    Rejects,
    Summary,
    Undecided,
    is_rejects,
    open_source,
)
from kato_tasks.importer.records import Form
from kato_tasks.settings import extras

SOME_REJECTED = 3
TALK_SECONDS = 5.0


@click.command("import", cls=Grouped)
@click.argument("file")
@section(
    "What the rows hold",
    click.option("--session", metavar="COLUMN", help="Take the session id from this column."),
    click.option("--node", metavar="NODE_ID", help="Use this node for every row (default: the session's own)."),
    click.option("--node-column", metavar="COLUMN", help="Take the node_id from this column."),
    click.option(
        "--strings", metavar="A,B", default="", help="Make a string of each cell of these columns that is not empty."
    ),
    click.option("--prefix", is_flag=True, help="Write each string as column:value."),
    click.option(
        "--emotive",
        "emotives",
        metavar="NAME=COLUMN",
        multiple=True,
        help="Take the emotive NAME from this column. May be repeated.",
    ),
    click.option("--timestamp", metavar="COLUMN", help="Take the time (ISO 8601) from this column."),
    click.option("--metadata", metavar="A,B", default="", help="Put these columns into the observation's metadata."),
)
@section(
    "How rows are recognized",
    click.option("--event-id", metavar="COLUMN", help="Take each row's id, unique in its session, from this column."),
    click.option("--source", metavar="NAME", help="Name the source (default: the path of FILE, without .gz)."),
    click.option(
        "--changed",
        type=click.Choice(["add", "skip"]),
        help="Append rows that differ from what was imported before as new events (add), or pass over them (skip).",
    ),
)
@section(
    "How FILE is read",
    click.option(
        "--format",
        "form",
        type=click.Choice(["csv", "jsonl"]),
        help="Read FILE in this format (default: that of its name).",
    ),
    click.option("--delimiter", help="Split cells at this: , ; | or tab (default: found out from the header)."),
    click.option(
        "--last-line", is_flag=True, help="Take the last line even without a line end, because FILE is complete."
    ),
)
@section(
    "What else is done",
    click.option("--learn", is_flag=True, help="Learn each session when the file ends."),
    click.option(
        "--rejects",
        type=click.Path(path_type=Path),
        help="Write rejected rows to this file (default: FILE.rejects.jsonl).",
    ),
    click.option("--strict", is_flag=True, help="Exit with 1 instead of 3 if rows were rejected."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)
def import_file(as_json: bool, strict: bool, rejects: Path | None, **words: Any) -> None:
    """Import FILE (- for standard input): a CSV with a header, or JSON lines.

    JSON lines are standard KATO events, or flat objects if columns are mapped as for a CSV. Rows are appended in the
    file's order, each of them once. Run the same command again to add what is new in FILE, wherever it stands, or
    to go on with an import that was stopped.

    \b
    kato-tasks import log.csv --session case --strings activity --learn
    kato-tasks import orders.csv --session who --strings step --event-id no
    zcat 17.gz | kato-tasks import - --source day-17 --format csv \\
        --session who --strings what
    kato-tasks import log.csv.rejects.jsonl

    A row is known by its id (--event-id, or the event_id of a JSON line). A row without an id is known by its source
    and by its session, time, strings, vectors and emotives. If rows that were imported are gone from FILE or differ
    now, nothing is appended, and a sentence says what differs and which option decides.

    Rows that are not valid events go to the rejects file. Correct the text in its "raw" and import that file: the file
    itself says how its rows are mapped and from which source they come.

    A last line without a line end may be half of a line that is still being written. It is left for the next import,
    and so are the learns, unless --last-line says that FILE is complete.

    \b
    Exit codes: 0  every row is in the log
                1  FILE or the mapping cannot be read, or no row is an event
                2  the import did not begin or stopped, perhaps because an option must decide
                3  some rows were rejected, the others are in the log
              130  stopped by Ctrl-C
    """  # noqa: D301 - click wants the character itself
    order = _Order(**words)
    summary = Summary()
    path = rejects or _default_rejects(order)
    try:
        _run(order, path, summary)
    except Undecided as exc:
        raise Failure(str(exc), UNUSABLE) from None
    except BadInput as exc:
        raise Failure(str(exc), BAD_INPUT) from None
    except StoreUnavailable as exc:
        raise Failure(_interrupted_store(exc, order.file, summary), UNUSABLE) from None
    except KeyboardInterrupt:
        talk(f"stopped {_where(order.file, summary)}; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED) from None
    _report(summary, path, as_json)
    if summary.left_for_later:
        talk(
            f"the last line of {order.file} has no line end, so it may be incomplete: it was left for the next import"
            f"{', and so were the learns' if order.learn else ''}; add --last-line if the file is complete"
        )
    if summary.rejected:
        raise click.exceptions.Exit(BAD_INPUT if strict or summary.rejected == summary.rows else SOME_REJECTED)


@dataclass(frozen=True, slots=True)
class _Order:
    """Holds what the command line said."""

    file: str
    session: str | None
    node: str | None
    node_column: str | None
    strings: str
    prefix: bool
    emotives: tuple[str, ...]
    timestamp: str | None
    metadata: str
    event_id: str | None
    source: str | None
    changed: Changed | None
    form: Form | None
    delimiter: str | None
    last_line: bool
    learn: bool

    @property
    def columns(self) -> Columns:
        return Columns(
            session=self.session,
            node=self.node,
            node_column=self.node_column,
            strings=_names(self.strings),
            emotives=tuple(_emotive(text) for text in self.emotives),
            timestamp=self.timestamp,
            metadata=_names(self.metadata),
            prefix=self.prefix,
            event_id=self.event_id,
        )

    @property
    def of_rejects(self) -> bool:
        """Return whether the file is a rejects file, which says itself how it is mapped."""
        return self.file != "-" and is_rejects(Path(self.file))


def _run(order: _Order, rejects_path: Path, summary: Summary) -> None:
    columns, delimiter = order.columns, _delimiter(order.delimiter)
    if order.source == "":
        raise Failure("--source is empty; give the rows' source a name", UNUSABLE)
    if order.of_rejects and order.source is not None:
        raise Failure(f"{order.file} says itself from which source its rows come; leave --source out", UNUSABLE)
    if not order.of_rejects:
        columns.check()
    rejects = Rejects(rejects_path)
    with open_source(order.file, complete=order.last_line) as source:
        # This comes after the file is opened, so that a wrong path need not wait for Redis and Celery.
        from kato_tasks.api.append import append_entries
        from kato_tasks.bootstrap import runtime

        rt = runtime()
        interrupts = Interrupts()
        with _progress(order.file) as progress, interrupts:
            try:
                if order.of_rejects:
                    MendedImporter(
                        append=lambda entries: append_entries(rt, entries),
                        imports=rt.imports,
                        sessions=rt.sessions,
                        rejects=rejects,
                        limits=rt.settings.limits,
                        learn=order.learn,
                        changed=order.changed,
                        undisturbed=interrupts.held,
                        summary=summary,
                    ).run(Path(order.file))
                else:
                    Importer(
                        append=lambda entries: append_entries(rt, entries),
                        imports=rt.imports,
                        sessions=rt.sessions,
                        rejects=rejects,
                        limits=rt.settings.limits,
                        columns=columns,
                        form=order.form or _form_of(order.file),
                        delimiter=delimiter,
                        learn=order.learn,
                        name=order.source,
                        changed=order.changed,
                        guessed=order.form is None,
                        on_progress=progress.show,
                        undisturbed=interrupts.held,
                        summary=summary,
                    ).run(source)
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


def _default_rejects(order: _Order) -> Path:
    if order.file == "-":
        name = re.sub(r"[^\w.-]+", "_", order.source or "").strip("._") or "stdin"
        return Path(f"{name}.rejects.jsonl")
    if order.of_rejects:
        # A row that is rejected once more keeps its place in the source, and goes to a file beside this one.
        head, found, number = order.file.removesuffix(".jsonl").rpartition(".rejects-")
        if found and number.isdigit():
            return Path(f"{head}.rejects-{int(number) + 1}.jsonl")
        return Path(f"{order.file.removesuffix('.jsonl').removesuffix('.rejects')}.rejects-2.jsonl")
    return Path(f"{order.file}.rejects.jsonl")


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
    if summary.skipped:
        parts.append(f"{summary.skipped:,} passed over, as --changed skip says")
    if summary.rejected:
        parts.append(f"{summary.rejected:,} rejected (see {rejects}; mend their raw text and import that file)")
    if summary.backwards:
        older = "row is older than one" if summary.backwards == 1 else "rows are older than ones"
        parts.append(
            f"{summary.backwards:,} {older} before in the session (first: line {summary.backwards_line}), "
            "and the file's order was kept"
        )
    if summary.learns:
        parts.append(
            f"{count(summary.learns, 'learn')} at sessions' ends"
            + (", whose new rows are patterns of their own" if summary.relearned else "")
        )
    rate = summary.as_json()["rows_per_second"]
    put(f"{', '.join(parts)}; {seconds(summary.seconds)}, {rate:,} rows/s")


class _Shown(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None: ...


def _progress(file: str) -> _Shown:
    drawn = sys.stderr.isatty() and extras.has_module("rich")
    return _Bar(visible_id(Path(file).name, room_beside_bar())) if drawn else _Lines()


class _Lines:
    """Prints a line of progress on stderr every few seconds."""

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
    """Shows a bar on the terminal, with rows, rate and remaining time."""

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

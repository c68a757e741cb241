"""The port `Imports`: what is remembered of a source, whatever the store."""

from __future__ import annotations

from kato_tasks.ports.imports import Chunk, Row
from tests.contract.store.pieces import Pieces

FIRST = 2**64 - 5


def rows(*lines: int) -> list[Row]:
    return [Row(2**63 + line, line * 7 % 2**32, line) for line in lines]


def test_a_source_that_was_never_imported_has_nothing(pieces: Pieces) -> None:
    kept = pieces.imports.source("file", "d1").load()
    assert (kept.exists, kept.count, list(kept.chunks), dict(kept.pending)) == (False, 0, [], {})
    assert (kept.about.name, kept.about.runs, kept.about.before) == ("file", 0, False)


def test_imports_are_counted_and_the_first_one_says_which_metadata_it_had(pieces: Pieces) -> None:
    assert pieces.imports.source("file", "d1").begin(metadata="a\nb", before=False, counted=True) == 1
    assert pieces.imports.source("file", "d1").begin(metadata=None, before=True, counted=True) == 2
    assert pieces.imports.source("file", "d1").begin(metadata=None, before=False, counted=False) == 2
    kept = pieces.imports.source("file", "d1").load()
    assert kept.exists
    assert (kept.about.metadata, kept.about.runs, kept.about.before) == ("a\nb", 2, True)
    assert not pieces.imports.source("other", "d2").load().exists


def test_rows_come_back_as_they_were_kept_in_their_order(pieces: Pieces) -> None:
    source = pieces.imports.source("file", "d1")
    run = source.begin(metadata="", before=False, counted=True)
    chunks = [
        Chunk("r", rows(1, 2, 3), learned=False, run=run),
        Chunk("i", rows(2**32 - 1, 5), learned=True, run=run),
        Chunk("m", [], learned=False, run=run),
        Chunk("g", rows(2), learned=False, run=run),
    ]
    source.keep(chunks[:2], (FIRST, 3, 17))
    source.keep(chunks[2:], None)
    kept = pieces.imports.source("file", "d1").load()
    assert [(one.kind, list(one.rows), one.learned, one.run) for one in kept.chunks] == [
        (one.kind, list(one.rows), one.learned, one.run) for one in chunks if one.rows
    ]
    assert kept.count >= 6
    assert (kept.about.first, kept.about.rows, kept.about.total) == (FIRST, 3, 17)


def test_very_many_chunks_are_read_to_the_last(pieces: Pieces) -> None:
    source = pieces.imports.source("file", "d1")
    for line in range(1, 124):
        source.keep([Chunk("r", rows(line), learned=False, run=1)], None)
    kept = pieces.imports.source("file", "d1").load()
    assert [row.line for chunk in kept.chunks for row in chunk.rows] == list(range(1, 124))


def test_what_an_import_intended_is_pending_until_it_is_kept(pieces: Pieces) -> None:
    source = pieces.imports.source("file", "d1")
    source.begin(metadata="", before=False, counted=True)
    intended = Chunk("r", rows(1, 2), learned=False, run=1)
    source.intend(intended)
    (pending,) = pieces.imports.source("file", "d1").load().pending.values()
    assert (pending.kind, list(pending.rows), pending.run) == ("r", rows(1, 2), 1)
    source.keep([intended], None)
    kept = pieces.imports.source("file", "d1").load()
    assert (dict(kept.pending), [list(one.rows) for one in kept.chunks]) == ({}, [rows(1, 2)])


def test_of_what_was_intended_a_part_may_be_kept(pieces: Pieces) -> None:
    source = pieces.imports.source("file", "d1")
    source.intend(Chunk("r", rows(1, 2, 3), learned=False, run=1))
    source.keep([Chunk("r", rows(1, 3), learned=False, run=1)], None)
    (chunk,) = pieces.imports.source("file", "d1").load().chunks
    assert list(chunk.rows) == rows(1, 3)


def test_imports_side_by_side_keep_what_the_other_intends(pieces: Pieces) -> None:
    one, other = pieces.imports.source("file", "d1"), pieces.imports.source("file", "d1")
    one.intend(Chunk("r", rows(1), learned=False, run=1))
    other.intend(Chunk("r", rows(2), learned=False, run=2))
    one.keep([Chunk("r", rows(1), learned=False, run=1)], None)
    (left,) = pieces.imports.source("file", "d1").load().pending.items()
    assert list(left[1].rows) == rows(2)
    one.end([left[0]], learned=False)
    assert not pieces.imports.source("file", "d1").load().pending


def test_an_end_says_how_many_chunks_are_learned_after_and_that_nothing_is_left_of_the_version_before(
    pieces: Pieces,
) -> None:
    source = pieces.imports.source("file", "d1")
    source.begin(metadata="", before=True, counted=True)
    source.keep([Chunk("r", rows(1), learned=False, run=1), Chunk("i", rows(2), learned=False, run=1)], None)
    source.end([], learned=False)
    assert pieces.imports.source("file", "d1").load().about.learned == 0
    source.end([], learned=True)
    about = pieces.imports.source("file", "d1").load().about
    assert (about.learned, about.before) == (2, False)


def test_other_sources_that_begin_with_the_same_content_are_found(pieces: Pieces) -> None:
    for name, digest, first in (("a", "d1", FIRST), ("b", "d2", FIRST), ("c", "d3", 4)):
        source = pieces.imports.source(name, digest)
        source.begin(metadata="", before=False, counted=True)
        source.keep([], (first, 9, 1))
    assert [(about.name, about.rows) for about in pieces.imports.others_that_begin(FIRST, "d1")] == [("b", 9)]
    pieces.imports.source("b", "d2").keep([], (5, 9, 1))
    assert pieces.imports.others_that_begin(FIRST, "d1") == [], "it begins otherwise now"


def test_a_checkpoint_of_a_version_before_is_taken_over_by_one_source(pieces: Pieces) -> None:
    assert pieces.imports.checkpoints("chain") == {}
    assert pieces.imports.adopter("chain") is None
    pieces.imports.source("file", "d1").adopt("chain")
    assert pieces.imports.adopter("chain") == "d1"

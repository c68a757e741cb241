from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from kato_tasks.importer import BadInput, open_source
from kato_tasks.importer import blocks as blocks_module
from kato_tasks.importer import source as source_module
from kato_tasks.importer.blocks import Block, Blocks
from kato_tasks.importer.records import Record, Texts, csv_records, json_records
from kato_tasks.importer.source import Source


def blocks_of(data: bytes) -> Blocks:
    return Blocks(Source("x", io.BytesIO(data), None, len(data)), b"seed")


def block_of(data: bytes) -> Block:
    block = blocks_of(data).read()
    assert block is not None
    return block


def rows(data: bytes, delimiter: str = ",") -> list[Record]:
    return list(csv_records(Texts(block_of(data)), 0, lambda: False, delimiter))


def test_a_row_with_quotes_may_hold_delimiters_quotes_and_line_ends() -> None:
    found = rows(b'a,"b, ""c""\nd",e\nf,g,h\n')
    assert [(r.first, r.last, r.value) for r in found] == [(0, 1, ["a", 'b, "c"\nd', "e"]), (2, 2, ["f", "g", "h"])]


def test_a_quote_that_is_never_closed_costs_one_line() -> None:
    found = rows(b'a,"b\nc,d\ne,f\n')
    assert (found[0].first, found[0].last) == (0, 0)
    assert "never closed" in str(found[0].reason)
    assert [r.value for r in found[1:]] == [["c", "d"], ["e", "f"]]


def test_a_quote_runs_on_for_a_bounded_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kato_tasks.importer.records.CONTINUED_LINES", 3)
    found = rows(b'a,"b\n' + b"c,d\n" * 5 + b'e"\n')
    assert "never closed" in str(found[0].reason)
    assert [r.value for r in found[1:6]] == [["c", "d"]] * 5


def test_a_quote_inside_an_unquoted_cell_is_text() -> None:
    assert [r.value for r in rows(b'5" pipe,b\nc,d\n')] == [['5" pipe', "b"], ["c", "d"]]


def test_text_after_a_closing_quote_is_rejected() -> None:
    assert "is no CSV" in str(rows(b'"a"b,c\n')[0].reason)


def test_empty_lines_are_no_rows() -> None:
    assert [r.first for r in rows(b"a,b\n\r\n\nc,d\n")] == [0, 3]
    assert [r.first for r in json_records(Texts(block_of(b'{"a":1}\n \n{"b":2}')), 0)] == [0, 2]


def test_a_line_that_is_not_utf8_is_named_by_its_byte() -> None:
    found = rows(b"a,b\nc,\xe9\ne,f\n")
    assert found[1].reason == "is not UTF-8: unexpected end of data at byte 3 of the line"
    assert [r.value for r in (found[0], found[2])] == [["a", "b"], ["e", "f"]]


def test_a_line_that_is_no_json_is_rejected_and_the_rest_goes_on() -> None:
    found = list(json_records(Texts(block_of(b'{"a":1}\n{"a":\n[2]\n' + b"[" * 100_000 + b"\n")), 0))
    assert [r.value for r in found[:3]] == [{"a": 1}, None, [2]]
    assert str(found[1].reason).startswith("is no JSON")
    assert "nested too deep" in str(found[3].reason)


def test_line_ends_and_the_byte_order_mark_do_not_change_the_chain() -> None:
    plain = block_of(b"a,b\nc,d\n")
    windows = block_of(b"\xef\xbb\xbfa,b\r\nc,d")
    assert plain.lines == windows.lines
    assert plain.chains == windows.chains


def test_a_chain_names_everything_before_it() -> None:
    one, other = block_of(b"a\nb\nc\n"), block_of(b"a\nx\nc\n")
    assert one.chains[0] == other.chains[0]
    assert one.chains[1] != other.chains[1]
    assert one.chains[2] != other.chains[2]


def test_blocks_are_the_same_whatever_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_LINES", 3)

    def ends(data: bytes) -> list[str]:
        reader, found = blocks_of(data), []
        while block := reader.read():
            found.append(block.end)
            reader.close(block)
        return found

    short, long = ends(b"1\n2\n3\n4\n"), ends(b"1\n2\n3\n4\n5\n6\n7\n")
    assert len(short) == 2
    assert len(long) == 3
    assert short[0] == long[0]


def test_lines_that_are_given_back_are_read_again_under_the_same_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_LINES", 2)
    reader = blocks_of(b"1\n2\n3\n4\n5\n")
    block = reader.read()
    assert block is not None
    assert reader.lengthen(block, 2)
    assert reader.lengthen(block, 2)
    chains = list(block.chains)
    reader.give_back(block, 2)
    reader.close(block)
    following = reader.read()
    assert following is not None
    assert (following.number, following.offset) == (3, 4)
    assert following.lines == [b"3", b"4"]
    assert following.chains == chains[2:]


def test_a_line_beyond_the_limit_is_one_bad_line_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_LINE_BYTES", 10)
    monkeypatch.setattr("kato_tasks.importer.records.MAX_LINE_BYTES", 10)
    block = block_of(b"a,b\n" + b"x" * 1_000 + b"\nc,d\n")
    assert len(block.lines) == 3
    assert len(block.lines[1]) < 100
    found = list(csv_records(Texts(block), 0, lambda: False, ","))
    assert found[1].reason == "takes 1001 bytes; a line has at most 10"
    assert [r.value for r in (found[0], found[2])] == [["a", "b"], ["c", "d"]]


def test_utf16_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="x is not UTF-8 but UTF-16"):
        blocks_of("a,b\n".encode("utf-16")).header()


def test_a_gzip_file_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\nc,d\n"))
    with open_source(str(path)) as source:
        assert [source.next_line(), source.next_line(), source.next_line()] == [(b"a,b", 4), (b"c,d", 4), None]


def test_a_damaged_gzip_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" * 10_000)[:-20])
    with open_source(str(path)) as source, pytest.raises(BadInput, match="is a damaged gzip file"):
        list(iter(source.next_line, None))

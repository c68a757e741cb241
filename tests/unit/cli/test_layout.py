"""Tables and fields in the width there is: whatever it is, no word is lost and no line is wider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.cli.layout import cells, field_lines, fold, table_lines

COLUMNS = ("session", "node", "state", "cursor", "why")
ROWS = [
    ("ann 1", "shop", "parked", "5", "KATO answered 422: strings must not be empty, said the second instance of three"),
    ("日本 visit", "its own", "idle", "12,345", ""),
]


def drawn(width: int | None) -> list[str]:
    lines = table_lines(COLUMNS, ROWS, frozenset({3}), width)
    return ["".join(text for text, _ in line) for line in lines]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_word_is_lost_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(width)
    assert max(map(cells, lines)) <= width
    words = " ".join(lines).split()
    for cell in (cell for row in ROWS for cell in row):
        for word in cell.split():
            assert word in words


def test_what_fits_stands_in_columns() -> None:
    assert drawn(200)[:2] == [
        "session     node     state   cursor  why",
        f"ann 1       shop     parked       5  {ROWS[0][4]}",
    ]
    assert drawn(None) == drawn(200)
    assert drawn(80)[1:4] == [
        "ann 1       shop     parked       5  KATO answered 422: strings must not be",
        "                                     empty, said the second instance of three",
        "日本 visit  its own  idle    12,345",
    ]


def test_what_does_not_fit_is_stacked_with_the_names_of_the_columns() -> None:
    assert drawn(40) == [
        "ann 1",
        "  node    shop",
        "  state   parked",
        "  cursor  5",
        "  why     KATO answered 422: strings",
        "          must not be empty, said the",
        "          second instance of three",
        "日本 visit",
        "  node    its own",
        "  state   idle",
        "  cursor  12,345",
    ]


def test_a_field_goes_on_under_itself() -> None:
    lines = field_lines([("state", "idle"), ("last error", "KATO does not answer at all")], 30)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "state       idle",
        "last error  KATO does not",
        "            answer at all",
    ]


@given(st.text(st.characters(categories=["L", "N", "So", "Zs"])), st.integers(2, 30))
def test_folding_keeps_every_character_and_the_width(text: str, width: int) -> None:
    lines = fold(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cells(line) <= width for line in lines)

"""The pages for newcomers name files and words of the code as it is."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.acceptance.documents import CHECKOUT

CHANGES = CHECKOUT / "docs" / "where-do-i-change.md"
GLOSSARY = CHECKOUT / "docs" / "glossary.md"
CONTRIBUTING = CHECKOUT / "CONTRIBUTING.md"
PLACEHOLDER = "NAME"
"""Stands in a path for the name that the reader gives."""


def quoted(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@cache
def words_of_the_code() -> frozenset[str]:
    sources = [path for path in CHECKOUT.glob("*") if path.suffix in (".toml", "") and path.is_file()]
    for folder in ("kato_tasks", "tests", "docs", "benchmarks", "workers", "beat"):
        sources += [path for path in (CHECKOUT / folder).rglob("*") if path.suffix in (".py", ".lua")]
    return frozenset(word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [CHANGES, GLOSSARY, CONTRIBUTING], ids=lambda page: page.name)
def test_every_path_on_the_page_exists(page: Path) -> None:
    paths = {text for text in quoted(page) if re.fullmatch(r"[\w.-]*(/[\w.-]+)+/?|[\w.-]+/", text)}
    assert len(paths) > 5
    for path in paths:
        place = CHECKOUT / path
        assert (place.parent if PLACEHOLDER in place.name else place).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", [CHANGES, GLOSSARY], ids=lambda page: page.name)
def test_every_name_on_the_page_is_in_the_code(page: Path) -> None:
    """So a name that is changed in the code is changed on the page."""
    names = {text.partition("(")[0] for text in quoted(page) if re.fullmatch(r"[\w.]+(\(.*\))?", text)}
    assert len(names) > 5
    for name in names:
        for part in name.split("."):
            assert part in words_of_the_code() or part in (PLACEHOLDER, ""), f"{page.name} names {name}"


def test_each_change_says_what_falls_and_what_to_add() -> None:
    sections = re.split(r"^## ", CHANGES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) >= 10
    for section in sections:
        title = section.splitlines()[0]
        assert "\n1. " in section, title
        assert "\nFalls:" in section, title
        assert re.search(r"\bAdd:\s|tests\s+to\s+add", section), title


def test_the_glossary_is_in_the_order_of_the_alphabet_and_says_where_each_word_lives() -> None:
    rows = re.findall(r"^\| ([\w -]+) \| .* \| (`[^`]+`) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    words = [word.lower() for word, _ in rows]
    assert words == sorted(words)
    assert len(words) > 50


def test_each_name_that_has_changed_is_in_the_code_under_one_of_its_names() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| [^`|]+ \|$", text[text.index("## Names that") :], re.MULTILINE)
    assert len(rows) > 10
    for before, now in rows[1:]:
        assert {before, now} & words_of_the_code(), f"neither {before} nor {now} is in the code"

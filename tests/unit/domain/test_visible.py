"""Text that a person sees: nothing in it steers the terminal, and an id that is shown can be typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.domain.visible import shell_word, visible, visible_id, visible_json, written_back

HIDDEN = "\x00\x07\t\n\r\x1b\x7f\x85\x9b\u00ad\u200b\u200d\u2028\u202e\u2066\ufeff\ud800\U000e0020"


def steers(text: str) -> list[str]:
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    for shown in (visible(text), visible_id(text), visible_id(text, 20)):
        assert steers(shown) == []
    document = json.dumps({"text": text}, indent=2, ensure_ascii=False)
    assert steers(visible_json(document).replace("\n", "")) == []
    assert json.loads(visible_json(document)) == {"text": text}


@given(st.text(st.characters(exclude_categories=())) | st.text(HIDDEN + "\\nux0a"))
def test_an_id_is_read_back_from_what_is_shown_and_no_two_look_alike(text: str) -> None:
    assert (written_back(visible_id(text)) or visible_id(text)) == text


def test_what_is_plain_stays_as_it_is() -> None:
    for text in ("ann 1", "Müller 🦄 日本", "[bold]a[/]", 'C:\\temp "x"'):
        assert visible(text) == text
    assert visible_id("a\\nb") == "a\\\\nb"
    assert written_back("a\\qb") is None


def test_the_forms_are_those_that_a_shell_reads() -> None:
    assert visible(HIDDEN) == (
        r"\x00\x07\t\n\r\x1b\x7f\u0085\u009b\u00ad\u200b\u200d\u2028\u202e\u2066\ufeff\ud800\U000e0020"
    )


@pytest.mark.parametrize("text", ["ann", "it's 1", "\x1b[31mred\x07 it's\n\x85\u202e\\n", "$HOME `x` \\", ""])
def test_a_word_for_the_shell_is_that_text_again_in_bash(text: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    done = subprocess.run(
        [bash, "-c", f"printf %s {shell_word(text)}"], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True
    )
    assert done.stdout.decode() == text


def test_of_a_long_id_both_ends_are_shown_and_no_escape_is_cut() -> None:
    shown = visible_id("first-" + "\x1b" * 200 + "-last", 40)
    assert len(shown) <= 40
    assert shown.startswith("first-\\x1b")
    assert shown.endswith("\\x1b-last")
    assert shown.replace("\\x1b", "") == "first-…-last"

"""What `make mutants` leaves of a file, and what it takes from the page and from a run of pytest."""

from __future__ import annotations

import ast
import datetime as dt

import pytest

from tests.acceptance.documents import CHECKOUT
from tests.mutants.__main__ import turned
from tests.mutants.rows import Guard, guards
from tests.mutants.running import outcome
from tests.mutants.taking_out import CannotTakeOut, take_out


@pytest.mark.parametrize(
    ("source", "line", "left"),
    [
        ("def f():\n    do(1)\n", "do(1)", "def f():\n    pass\n"),
        ("def f():\n    do(\n        1,\n    )\n    more()\n", "do(", "def f():\n    pass\n    more()\n"),
        ("def f():\n    return (yield from g())\n", "return (yield from g())", "def f():\n    pass\n"),
        ("if a and b:\n    c()\n", "if a and b:", "if False:\n    c()\n"),
        ("if (\n    a\n    and b\n):\n    c()\n", "if (", "if (\n    False\n):\n    c()\n"),
        ("if a:\n    b()\nelif c:\n    d()\n", "elif c:", "if a:\n    b()\nelif False:\n    d()\n"),
        ("try:\n    a()\nexcept X as e:\n    b()\n", "except X as e:", "try:\n    a()\nexcept () as e:\n    b()\n"),
        ("for a in b():\n    c()\n", "for a in b():", "for a in ():\n    c()\n"),
        ("x = do(1)\n", "x = do(1)", "x = None\n"),
        ("x = do(\n    'é',\n)\ny = 1\n", "x = do(", "x = None\ny = 1\n"),
        ("if a:\n    do()\nelse:\n    do()\n", "do()", "if a:\n    pass\nelse:\n    pass\n"),
    ],
)
def test_a_statement_of_python_goes_whole(source: str, line: str, left: str) -> None:
    assert take_out("a.py", source, line) == left
    ast.parse(left)


@pytest.mark.parametrize(
    ("source", "line", "left"),
    [
        ("local a\ncall('DEL', x)\nlocal b\n", "call('DEL', x)", "local a\n\nlocal b\n"),
        ("call('HSET', s,\n  'a(', 1)\ncall('DEL')\n", "call('HSET', s,", "\ncall('DEL')\n"),
        ("if a and b then return 0 end\n", "if a and b then return 0 end", "if false then return 0 end\n"),
        (
            "if a then\n  b()\nelseif c then\n  d()\nend\n",
            "elseif c then",
            "if a then\n  b()\nelseif false then\n  d()\nend\n",
        ),
        ("for i = 1, 2 do a() end\n", "for i = 1, 2 do", "for i = 1, 0 do a() end\n"),
        ("for a, b in pairs(c) do\n", "for a, b in pairs(c) do", "for a, b in pairs({}) do\n"),
        ("local a, b = f(x,\n  y)\n", "local a, b = f(x,", "local a, b = nil\n"),
        ("if x then a = 1 end\n", "a = 1", "if x then  end\n"),
    ],
)
def test_a_statement_of_lua_goes_whole(source: str, line: str, left: str) -> None:
    assert take_out("a.lua", source, line) == left


def test_a_row_may_say_what_stands_there_instead() -> None:
    assert take_out("a.py", "x = 1 if a and b else 2\n", "if a and b", "if a") == "x = 1 if a else 2\n"


@pytest.mark.parametrize(
    ("path", "source", "line"),
    [
        ("a.py", "x = 1 if a else 2\n", "1 if a"),
        ("a.py", "def f():\n    return 1\n", "def f():"),
        ("a.py", "a()\n", "b()"),
        ("a.lua", "function f() end\n", "function f() end"),
        ("a.yml", "a: 1\n", "a: 1"),
    ],
)
def test_what_cant_be_taken_out_is_said(path: str, source: str, line: str) -> None:
    with pytest.raises(CannotTakeOut):
        take_out(path, source, line)


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.line[:40])
def test_every_line_of_the_page_can_be_taken_out(guard: Guard) -> None:
    source = (CHECKOUT / "kato_tasks" / guard.path).read_text(encoding="utf-8")
    assert take_out(guard.path, source, guard.line, guard.without) != source


@pytest.mark.parametrize(
    ("exit_code", "last", "said"),
    [
        (0, "1 passed in 0.10s", "passed"),
        (1, "1 failed in 0.10s", "failed"),
        (1, "2 failed, 3 passed in 0.10s", "failed"),
        (1, "1 error in 0.10s", "broken"),
        (2, "1 error in 0.10s", "broken"),
        (4, "no tests ran in 0.01s", "broken"),
        (0, "1 skipped in 0.01s", "broken"),
    ],
)
def test_only_a_test_that_fails_is_a_proof(exit_code: int, last: str, said: str) -> None:
    assert outcome(exit_code, f"some lines\n{last}\n") == said
    assert outcome(exit_code, f"some lines\n{last}\nException ignored in: <function __del__>\nTypeError\n") == said


@pytest.mark.parametrize("items", [1, 2, 3, 10, 31, 60])
def test_every_row_is_the_first_one_within_as_many_days_as_there_are_rows(items: int) -> None:
    day = dt.date(2026, 1, 1)
    first = {turned(list(range(items)), day + dt.timedelta(days=n))[0] for n in range(items)}
    assert first == set(range(items))
    assert sorted(turned(list(range(items)), day)) == list(range(items))


def test_a_third_of_the_rows_a_day_is_all_of_them_within_a_week() -> None:
    seen: set[int] = set()
    for n in range(7):
        seen.update(turned(list(range(60)), dt.date(2026, 1, 1) + dt.timedelta(days=n))[:20])
    assert len(seen) == 60

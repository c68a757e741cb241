"""Tests of the shop: most of them in one process, one of them with the real processes."""

from __future__ import annotations

import pytest
from visits import left, suggestions, visited

from kato_tasks import InvalidEvent, observe, session_status
from kato_tasks.testing.inline import Inline
from kato_tasks.testing.stack import RunningStack


def visit(visitor: str, shop: str = "shop") -> None:
    for page in ("home", "search", "product", "checkout"):
        visited(visitor, page, shop)
    left(visitor)


def test_a_visitor_is_shown_what_others_went_on_to(kato_tasks_inline: Inline) -> None:
    visit("ann")
    visited("cleo", "home")
    assert suggestions("cleo", "search") == ["product", "checkout"]


def test_each_test_begins_with_nothing(kato_tasks_inline: Inline) -> None:
    assert session_status("ann") is None
    assert suggestions("cleo", "search") == []


def test_a_page_without_a_name_is_refused_at_once(kato_tasks_inline: Inline) -> None:
    with pytest.raises(InvalidEvent, match=r"observation\.strings"):
        observe.delay("cleo", {"strings": [None]})


def test_a_kato_that_fails_once_costs_no_page_view(kato_tasks_inline: Inline) -> None:
    kato_tasks_inline.faults({"kind": "drop_after", "route": "observe-sequence", "count": 1})
    visited("ann", "home")
    status = session_status("ann")
    assert status is not None
    assert status.cursor == 1


def test_the_same_with_a_worker_and_servers(kato_tasks_stack: RunningStack) -> None:
    shop = kato_tasks_stack.own("shop")
    visit(kato_tasks_stack.own("ann"), shop)
    cleo = kato_tasks_stack.own("cleo")
    visited(cleo, "home", shop)
    assert suggestions(cleo, "search", shop) == ["product", "checkout"]

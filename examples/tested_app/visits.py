"""A shop that hands its visitors' page views over and suggests where they may go next."""

from __future__ import annotations

from celery import chain

from kato_tasks import learn, observe, predict

SHOP = "shop"
"""the node: what one visitor teaches, the others are told"""


def visited(visitor: str, page: str, shop: str = SHOP) -> None:
    """Hand one page view over."""
    observe.delay(visitor, {"strings": [page]}, node_id=shop)


def left(visitor: str) -> None:
    """The visit is over: its course becomes a pattern."""
    learn.delay(visitor)


def suggestions(visitor: str, page: str, shop: str = SHOP) -> list[str]:
    """Hand a page view over, and return the pages that followed it in earlier visits, the likeliest first."""
    asked = chain(observe.s(visitor, {"strings": [page]}, node_id=shop), predict.si(visitor))
    answer = asked().get(timeout=30)
    return [page for prediction in answer["predictions"][:1] for event in prediction["future"] for page in event]

"""The thread that renews a process's leases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import Batch, Lease, Renew
from kato_tasks.testing.waiting import wait_until


class Store:
    """Answers each round of renewals with the next of these, and then always with the last one."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.rounds = 0
        self.renewed: set[str] = set()

    def run(self) -> str:
        return "run"

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        self.rounds += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        for operation in operations:
            assert isinstance(operation, Renew)
            self.renewed.add(operation.lease.token)
        return [answer[op.lease.token] if isinstance(answer, dict) else answer for op in operations]  # type: ignore[attr-defined]


def held(token: str) -> Lease:
    return Lease("lane", token, 4_000, Batch(1, 1_000))


def test_a_renewer_survives_any_error_and_goes_on_renewing() -> None:
    """Falls when only the errors that it knows are caught: the thread would end, and every later lease run out."""
    store = Store(AttributeError("nobody expected this"), StoreUnavailable("away"), True)
    renewer = LeaseRenewer(store, 0.01)
    renewer.track(held("a"), 0.0)
    wait_until(lambda: store.renewed == {"a"}, 5, "it renews again")
    renewer.close()


def test_a_renewal_that_fails_by_itself_is_tried_again_and_only_a_lost_lane_is_let_go() -> None:
    store = Store({"a": StoreUnavailable("busy"), "b": False, "c": True}, True)
    renewer = LeaseRenewer(store, 0.01)
    now = threading.TIMEOUT_MAX  # far in the future: `sure` until it is let go
    for token in "abc":
        renewer.track(held(token), now)
    wait_until(lambda: store.rounds >= 3, 5, "some rounds")
    assert (renewer.is_live(held("a")), renewer.is_live(held("b")), renewer.is_live(held("c"))) == (True, False, True)
    renewer.close()

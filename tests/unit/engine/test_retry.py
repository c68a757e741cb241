from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.engine.drain.retry import RetryPolicy

ATTEMPTS = st.integers(0, 1_000)


@given(ATTEMPTS, st.floats(0.01, 10), st.floats(0.01, 600), st.integers())
def test_a_wait_is_at_least_a_millisecond_and_at_most_base_doubled_each_time_and_capped(
    attempt: int, base: float, cap: float, seed: int
) -> None:
    policy = RetryPolicy(base_seconds=base, cap_seconds=cap, rng=random.Random(seed))
    ceiling = min(cap, base * 2 ** min(attempt, 60))
    assert 1 <= policy.wait_ms(attempt) <= max(1, ceiling * 1000)


@given(ATTEMPTS, st.floats(0, 1_000), st.integers())
def test_retry_after_is_waited_out_up_to_the_cap(attempt: int, asked: float, seed: int) -> None:
    policy = RetryPolicy(rng=random.Random(seed))
    assert int(min(asked, 60) * 1000) <= policy.wait_ms(attempt, asked) <= 120_000


def test_jitter_is_full() -> None:
    policy = RetryPolicy(base_seconds=8, rng=random.Random(7))
    waits = sorted(policy.wait_ms(0) for _ in range(1_000))
    assert waits[0] < 400
    assert waits[-1] > 7_600
    assert 3_500 < sum(waits) / len(waits) < 4_500


def test_waiting_for_an_open_circuit_does_not_grow() -> None:
    policy = RetryPolicy(circuit_seconds=2.0, rng=random.Random(7))
    waits = [policy.circuit_ms() for _ in range(1_000)]
    assert min(waits) >= 1_000
    assert max(waits) <= 5_000

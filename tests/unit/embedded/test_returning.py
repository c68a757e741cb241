"""When a part that died is started again."""

from kato_tasks.embedded.stack.returning import Deaths


def test_each_start_waits_twice_as_long_and_the_fifth_death_in_a_minute_is_the_end() -> None:
    deaths = Deaths()
    assert [deaths.add(second) for second in (0, 1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6, None]


def test_deaths_that_are_a_minute_ago_do_not_count() -> None:
    deaths = Deaths()
    assert [deaths.add(second) for second in (0, 20, 40, 61, 82, 103)] == [0.2, 0.4, 0.8, 0.8, 0.8, 0.8]

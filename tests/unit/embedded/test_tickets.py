"""The help-desk log: what is read, refused, learned, asked and compared."""

from pathlib import Path

import pytest

from kato_tasks.cli.demo.helpdesk_data import BadData, Followers, learning_events, questions, read_tickets, split

HEADER = "timestamp,case_id,activity,resource\n"


def log(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def row(day: int, ticket: str, activity: str) -> str:
    return f"2010-01-{day:02d}T08:00:00+00:00,{ticket},{activity},Value 2"


def five(path: Path) -> Path:
    """Tickets that start on days 1 to 5, named backwards, with two or three steps."""
    rows = [row(day, f"Case {9 - day}", "Assign") for day in range(1, 6)]
    rows += [row(day + 10, f"Case {9 - day}", "Resolve") for day in range(1, 6)]
    rows += [row(day + 20, f"Case {9 - day}", "Closed") for day in range(1, 6, 2)]
    return log(path, *rows)


def test_tickets_come_by_their_start_with_their_steps_by_time(tmp_path: Path) -> None:
    tickets = read_tickets(five(tmp_path / "log.csv"))
    assert [ticket.case_id for ticket in tickets] == [f"Case {n}" for n in (8, 7, 6, 5, 4)]
    assert tickets[0].activities == ["Assign", "Resolve", "Closed"]


def test_the_first_four_fifths_are_learned(tmp_path: Path) -> None:
    learned, rest = split(read_tickets(five(tmp_path / "log.csv")))
    assert (len(learned), [ticket.case_id for ticket in rest]) == (4, ["Case 4"])


def test_a_ticket_is_learned_right_after_its_last_step(tmp_path: Path) -> None:
    tickets = read_tickets(five(tmp_path / "log.csv"))
    events = learning_events(tickets, "helpdesk")
    assert len(events) == 13 + 5
    own = [event for event in events if event["session_id"] == "Case 8"]
    assert [event["event_type"] for event in own] == ["observation"] * 3 + ["learn"]
    assert own[0]["observation"] == {"strings": ["Assign"], "metadata": {"resource": "Value 2"}}
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert len({event["event_id"] for event in events}) == len(events)


def test_a_question_is_asked_after_each_prefix_of_two_or_more_that_goes_on(tmp_path: Path) -> None:
    tickets = read_tickets(five(tmp_path / "log.csv"))
    assert list(questions(tickets[0])) == [(2, "Closed")]
    assert list(questions(tickets[1])) == []  # it really ends after its second step


def test_the_baseline_is_the_most_frequent_follower(tmp_path: Path) -> None:
    followers = Followers(read_tickets(five(tmp_path / "log.csv")))
    assert followers.expect("Assign", 3) == ["Resolve"]
    assert followers.expect("never seen", 3) == []


def test_a_file_that_is_missing_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none\.csv cannot be read: No such file or directory"):
        read_tickets(tmp_path / "none.csv")


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="has no column case_id; its columns are: timestamp, case, activity"):
        read_tickets(log(tmp_path / "log.csv", header="timestamp,case,activity\n"))


def test_a_file_that_is_not_utf_8_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER.encode() + "2010-01-01,Case 1,Zürich,x\n".encode("latin-1"))
    with pytest.raises(BadData, match="is not UTF-8: byte 0xfc at offset 55, line 2"):
        read_tickets(path)


def test_a_bad_time_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="line 3: timestamp 'yesterday' is not ISO 8601"):
        read_tickets(log(tmp_path / "log.csv", row(1, "Case 1", "Assign"), "yesterday,Case 1,Assign,x"))


def test_an_empty_or_missing_cell_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="line 2: activity is empty"):
        read_tickets(log(tmp_path / "log.csv", "2010-01-01,Case 1"))


def test_too_few_tickets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"has 1 tickets; .* at least 5"):
        read_tickets(log(tmp_path / "log.csv", row(1, "Case 1", "Assign")))

"""Wrong calls. Each line has the error that each checker must find there; one that is not found is an error itself.

Checked by mypy and pyright, and never run.
"""

from __future__ import annotations

from kato_tasks import append_event, history, learn, observe, predict, session_status

seen = {"strings": ["home"]}


def arguments_of_a_wrong_type() -> None:
    observe.delay(1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    observe.delay("s", "home")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    observe.delay("s", seen, timestamp=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    predict.delay("s", raw="yes")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    append_event("s", {"a": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    append_event("s", "paid", expected_position="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    history("s", after="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session_status(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_argument_is_missing() -> None:
    observe.delay("s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    learn.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    observe.si("s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    predict.si()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def an_argument_is_misspelled_or_one_too_many() -> None:
    observe.delay("s", seen, node="shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    observe.delay("s", seen, "shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    learn.si("s", node_id="shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    observe.s("s", seen, evnt_id="e")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    observe.delay_on_commit("s", seen, nodeid="shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_result_is_taken_for_something_else() -> None:
    observed, predicted = observe.delay("s", seen).get(), predict.delay("s").get()
    name: str = observed  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    length: str = observed["position"]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    observed["pattern_name"]  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    best = predicted["predictions"][0]
    future: str = best["future"]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(name, length, future)


async def the_same_in_an_event_loop() -> None:
    await observe.adelay("s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    learned = await (await learn.adelay("s")).aget()
    position: str = learned["position"]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(position)

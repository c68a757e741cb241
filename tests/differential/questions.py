"""A fixed set of questions to a KATO: one of each kind of call, and what its documentation does not say."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.differential import words
from tests.differential.calls import Call, asks

Event = Sequence[str] | dict[str, Any]


class Question(NamedTuple):
    """Calls on nodes of their own, in order."""

    title: str
    calls: list[Call]


def create(node: str = "~n0", makes: int = 0, **body: Any) -> Call:
    """A session that makes no predictions by itself, unless `config` says otherwise."""
    body = {"node_id": node, "config": {"process_predictions": False}, **body}
    return asks("create", "POST", "/sessions", body)._replace(makes=f"~s{makes}")


def configured(**config: Any) -> Call:
    return create(config={"process_predictions": False, **config})


def event(*strings: str, **rest: Any) -> dict[str, Any]:
    return {"strings": list(strings), **rest}


def observe(*strings: str, of: int = 0, **rest: Any) -> Call:
    return asks("observe", "POST", f"/sessions/~s{of}/observe", event(*strings, **rest))


def sequence(*events: Event, of: int = 0, **rest: Any) -> Call:
    items = [item if isinstance(item, dict) else event(*item) for item in events]
    return asks("sequence", "POST", f"/sessions/~s{of}/observe-sequence", {"observations": items, **rest})


def post(action: str, body: Any = None, of: int = 0) -> Call:
    return asks(action, "POST", f"/sessions/~s{of}/{action}", body)


def get(action: str = "", of: int = 0) -> Call:
    return asks(action or "get", "GET", f"/sessions/~s{of}/{action}".rstrip("/"))


def raw(action: str, body: bytes, content_type: str | None = "application/json") -> Call:
    return Call(action, "POST", f"/sessions/~s0/{action}", body, content_type)


def pattern(name: str = "~p0", node: str = "~n0") -> Call:
    return asks("pattern", "GET", f"/pattern/{name}?node_id={words.escaped(node)}")


def learned(*events: Event, times: int = 1, of: int = 0) -> list[Call]:
    """Learn `events` from a clean STM."""
    return [sequence(*events, of=of), post("learn", of=of), post("clear-stm", of=of)] * times


def reads() -> list[Call]:
    return [get("stm"), get("cognition-data"), get("percept-data")]


LEARN, CLEAR, STM, PREDICTIONS = post("learn"), post("clear-stm"), get("stm"), get("predictions")
ABCD = [["a"], ["b"], ["c"], ["d"]]

QUESTIONS = [
    Question(
        "a session's life",
        [
            create(metadata={"of": "a test", "n": [1, None]}, ttl_seconds=600, unknown=1),
            get(),
            get("exists"),
            get("config"),
            asks("extend", "POST", "/sessions/~s0/extend?ttl_seconds=7200"),
            asks("extend", "POST", "/sessions/~s0/extend"),
            get(),
            asks("delete", "DELETE", "/sessions/~s0"),
            asks("delete", "DELETE", "/sessions/~s0"),
            get(),
            get("exists"),
            STM,
        ],
    ),
    Question("nothing said of a session but its node", [asks("create", "POST", "/sessions", {"node_id": "~n0"})]),
    Question(
        "two sessions of one node", [create(), create(makes=1), observe("a"), observe("b", of=1), STM, get("stm", 1)]
    ),
    Question(
        "ttl_seconds",
        [create(ttl_seconds=value) for value in words.TTL_TO_RECORD],
    ),
    Question(
        "node ids",
        [create(f"~n{number}{odd}") for number, odd in enumerate(["", " b-c.d", "/e", '"f"', "é日", "_" + "l" * 60])],
    ),
    Question(
        "one knowledge base under several names", [create("~n0 x-y"), *learned(["a"], ["b"]), pattern(node="~n0_x_y")]
    ),
    Question("a long node id", [create("~n0" + "l" * 60), *learned(["a"], ["b"]), pattern(node="~n0" + "l" * 60)]),
    Question(
        "a quote in a node id", [create("~n0'x"), observe("a"), observe("b"), LEARN, pattern(node="~n0'x"), PREDICTIONS]
    ),
    Question(
        "a quote in a node id, predicting",
        [create("~n0'x", config={"process_predictions": True}), PREDICTIONS, observe("a"), STM],
    ),
    Question(
        "wrong creations", [asks("create", "POST", "/sessions", body) for body in words.WRONG_BODIES_OF_CREATIONS]
    ),
    Question(
        "observe",
        [
            create(),
            observe("b", "a", "b"),
            *reads(),
            observe(),
            observe(""),
            observe("é", "日本", "a b", 'say "x"', "\\", "😀", "7", "Room"),
            asks("observe", "POST", "/sessions/~s0/observe", {}),
            asks("observe", "POST", "/sessions/~s0/observe", {"strings": ["x"], "unknown": 1, "unique_id": "mine"}),
            *reads(),
        ],
    ),
    Question(
        "emotives and metadata",
        [
            create(),
            observe("a", emotives={"joy": 0.5}, metadata={"of": "x", "n": 1}),
            observe("b", emotives={"joy": 1.0, "fear": -1}, metadata={"of": ["x", "y"], "d": {"e": None}}),
            *reads(),
            LEARN,
            pattern(),
            get("cognition-data"),
            *learned(["a"], ["b"]),
            pattern(),
            CLEAR,
            get("cognition-data"),
            get("percept-data"),
            *learned(event("a"), event("b", emotives={"joy": 0.0})),
            pattern(),
        ],
    ),
    Question(
        "persistence keeps the newest emotives",
        [
            configured(persistence=2),
            *[call for joy in (1, 2, 3.5) for call in learned(event("a", emotives={"joy": joy}), event("b"))],
            pattern(),
        ],
    ),
    Question(
        "emotives that are no numbers",
        [
            create(),
            raw("observe", b'{"strings": ["a", "b"], "emotives": {"joy": NaN}}'),
            get("percept-data"),
            get("cognition-data"),
            LEARN,
            STM,
        ],
    ),
    Question("emotives whose sum overflows", [create(), *[observe("a", emotives={"joy": 1e308})] * 2, LEARN, STM]),
    Question(
        "observe-sequence",
        [
            create(),
            sequence(),
            sequence(["a"], ["c", "b"], [], event("d", unique_id="mine", emotives={"joy": 1}, metadata={"of": "x"})),
            *reads(),
            sequence(["e"], ["f"], clear_stm_between=True),
            STM,
            sequence(["x"], event("y", vectors=[[1, 2, 3], [1, 2]])),
            STM,
        ],
    ),
    Question(
        "observe-sequence that learns",
        [
            create(),
            observe("z"),
            sequence(["a"], ["b", "c"], learn_at_end=True),
            STM,
            sequence(["a", "b"], ["c"], [], ["d", "e"], learn_after_each=True, clear_stm_between=True),
            get("cognition-data"),
            pattern("~p0"),
            pattern("~p1"),
            sequence([], learn_at_end=True, learn_after_each=True),
        ],
    ),
    *[
        Question(
            f"{flag} given as {value!r}",
            [create(), post("observe-sequence", {"observations": [event("a", "b")], flag: value}), STM],
        )
        for flag, value in [
            ("learn_at_end", "yes"),
            ("learn_at_end", "maybe"),
            ("learn_after_each", 1),
            ("learn_after_each", 2),
            ("clear_stm_between", None),
            ("learn_at_end", 1.0),
        ]
    ],
    Question(
        "more than 1000 events",
        [
            create(),
            sequence(*[["a"]] * 999),
            observe("b"),
            observe("c"),
            sequence(["d"], ["e"], ["f"]),
            observe("g"),
            sequence(["h"], ["i"]),
        ],
    ),
    Question(
        "learn",
        [
            create(),
            LEARN,
            *learned(["a"], ["c", "b"], times=2),
            pattern(),
            get("cognition-data"),
            observe("a"),
            LEARN,
            STM,
            pattern("unknown"),
            pattern("PTRN|unknown"),
        ],
    ),
    Question("strings in a pattern", [create(), *learned(["it's", 'say "x"', "é\\"], ["\n", ""]), pattern()]),
    *[
        Question(
            f"learning by itself, {mode}",
            [
                configured(max_pattern_length=3, stm_mode=mode),
                *[observe(s) for s in "abcde"],
                *reads(),
                sequence(["f"], ["g"]),
            ],
        )
        for mode in ("CLEAR", "ROLLING", "nonsense")
    ],
    Question(
        "learning by itself at every event", [configured(max_pattern_length=1), observe("a"), observe("a", "b"), STM]
    ),
    Question("clear-stm", [create(), observe("a", emotives={"joy": 1}, metadata={"of": "x"}), CLEAR, *reads(), CLEAR]),
    Question(
        "clear-all", [create(), *learned(["a"], ["b"]), observe("a"), post("clear-all"), STM, pattern(), PREDICTIONS]
    ),
    Question("finalize-training", [create(), *learned(["a"], ["b"]), post("finalize-training"), pattern()]),
    Question("predictions of nothing", [create(), PREDICTIONS, observe("a"), PREDICTIONS, observe("b"), PREDICTIONS]),
    Question(
        "predictions",
        [create(), *learned(*ABCD), *learned(["a"], ["b"], ["x", "y"], times=2), sequence(["a"], ["b"]), PREDICTIONS],
    ),
    Question(
        "predictions of one symbol",
        [
            create(),
            *learned(*ABCD, times=2),
            *learned(["a", "x"], ["b"]),
            *learned(["b"], ["a"]),
            observe("a"),
            PREDICTIONS,
        ],
    ),
    Question(
        "predictions of one symbol ignore the threshold",
        [configured(recall_threshold=0.9), *learned(*ABCD), observe("a"), PREDICTIONS, observe("b"), PREDICTIONS],
    ),
    Question(
        "predictions with missing and extra symbols",
        [
            create(),
            *learned(["a", "b"], ["c", "d"], ["e"], ["f", "g"]),
            sequence(["a", "z"], ["d"], ["q"]),
            PREDICTIONS,
            sequence(["e", "f"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "predictions of symbols that repeat",
        [
            create(),
            *learned(["a"], ["a", "c"]),
            *learned(["a", "c"], ["a"], ["c"], ["b"]),
            sequence(["a", "c"], ["a"], ["c"], ["b"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "predictions of symbols in another order than learned",
        [
            create(),
            *learned(["a"], ["b"], ["c"]),
            sequence(["c"], ["b"], ["a"]),
            PREDICTIONS,
            CLEAR,
            sequence(["b"], ["c"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "predictions with emotives",
        [
            create(),
            *learned(event("a", emotives={"joy": 1, "fear": 0.5}), event("b"), event("c", emotives={"joy": 0})),
            *learned(event("a", emotives={"joy": 0.25}), event("b"), event("c")),
            sequence(["a"], ["b"]),
            PREDICTIONS,
            CLEAR,
            observe("a"),
            PREDICTIONS,
        ],
    ),
    Question(
        "a ranking that the session asks for",
        [
            configured(rank_sort_algo="frequency"),
            *learned(["a"], ["b"], ["rare"]),
            *learned(["a"], ["b"], ["c"], ["d"], ["e"], ["often"], times=5),
            sequence(["a"], ["b"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "max_predictions",
        [
            configured(max_predictions=1),
            *learned(["a"], ["b"], ["c"]),
            *learned(["a"], ["b"], ["c"], ["d"], ["e"]),
            sequence(["a"], ["b"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "predictions after finalize-training",
        [
            create(),
            *learned(*ABCD),
            *learned(["a"], ["c"]),
            post("finalize-training"),
            sequence(["a"], ["b"]),
            PREDICTIONS,
        ],
    ),
    Question(
        "observing with predictions",
        [
            create(config={"process_predictions": True}),
            *learned(*ABCD),
            observe("a"),
            get("cognition-data"),
            observe("b"),
            get("cognition-data"),
            LEARN,
            get("cognition-data"),
        ],
    ),
    Question(
        "observing with predictions follows no configuration",
        [
            create(config={"process_predictions": True, "max_predictions": 1, "recall_threshold": 0.9}),
            *learned(["a"], ["b"], ["c"]),
            *learned(["a"], ["b"], ["d"], ["e"]),
            observe("a"),
            get("cognition-data"),
            observe("b"),
            get("cognition-data"),
        ],
    ),
    Question(
        "an observation without symbols predicts nothing",
        [
            create(config={"process_predictions": True}),
            *learned(["a"], ["b"], ["c"]),
            observe("a"),
            observe("b"),
            PREDICTIONS,
            observe(emotives={"joy": 1}),
            get("cognition-data"),
            observe("b"),
            post("config", {"config": {"process_predictions": False}}),
            observe("c"),
            get("cognition-data"),
        ],
    ),
    Question("no observations to learn from", [create(), observe("a", "b"), sequence(learn_at_end=True), STM]),
    Question(
        "symbols that are not for SQL",
        [
            create(config={"process_predictions": True}),
            observe("it's"),
            get("stm"),
            observe("end\\"),
            get("stm"),
            observe("it's", "b"),
            PREDICTIONS,
        ],
    ),
    Question("a lone surrogate", [create(), raw("observe", b'{"strings": ["\\ud83d"]}'), STM, LEARN]),
    Question(
        "vectors",
        [
            create(),
            observe(vectors=[[0.1, 0.2]]),
            observe("Room", "b", vectors=[[0.1, 0.2], [0.3, 0.4]]),
            observe("a", vectors=[[1, 2]]),
            *reads(),
            LEARN,
            pattern(),
        ],
    ),
    Question(
        "vectors near learned ones",
        [create(), *learned(event("a", vectors=[[0.1, 0.2]]), event("b")), observe(vectors=[[0.1, 0.21]]), STM],
    ),
    Question(
        "vectors of odd sizes",
        [
            create(),
            *[observe(vectors=vectors) for vectors in words.VECTORS_TO_RECORD],
            STM,
        ],
    ),
    Question("sort_symbols", [configured(sort_symbols=False), observe("b", "a"), STM]),
    Question("use_token_matching", [configured(use_token_matching=False), observe("b", "a"), STM, get("config")]),
    Question(
        "values of the configuration at creation",
        [create(config={"max_predictions": 7, name: value}) for name, value in words.CONFIG_TO_RECORD],
    ),
    Question(
        "values of the configuration later",
        [
            create(),
            *[post("config", {"config": {name: value}}) for name, value in words.CONFIG_TO_RECORD],
            get("config"),
            post("config", {"max_predictions": 9}),
            post("config", {"config": {"max_predictions": 0, "persistence": "x", "recall_threshold": 7}}),
            post("config", {"config": None}),
            post("config", {"config": []}),
            post("config", {"config": {}}),
            post("config", []),
            get("config"),
        ],
    ),
    Question(
        "bodies that are no observation",
        [create(), *[raw("observe", body) for body in words.MALFORMED_TO_RECORD], STM],
    ),
    Question(
        "bodies that are no sequence",
        [create(), *[raw("observe-sequence", body) for body in words.MALFORMED_SEQUENCES], STM],
    ),
    Question(
        "fields of the wrong type",
        [
            create(),
            *[
                asks("observe", "POST", "/sessions/~s0/observe", {"strings": ["a"], **wrong})
                for wrong in words.WRONG_FIELDS
            ],
            STM,
        ],
    ),
    Question(
        "content types",
        [
            create(),
            *[
                raw("observe", b'{"strings": ["a"]}', kind)
                for kind in (None, "text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded")
            ],
            STM,
        ],
    ),
    Question(
        "sessions that are not there",
        [
            *[
                asks("unknown", method, f"/sessions/nope/{action}".rstrip("/"))
                for method, action in words.SESSION_ROUTES
            ],
            raw("observe", b"{"),
            asks("unknown", "GET", "/sessions/é/stm"),
        ],
    ),
    Question("routes and methods", [create(), *[asks("route", method, path) for method, path in words.WRONG_ROUTES]]),
    Question(
        "extend",
        [create(), *[asks("extend", "POST", f"/sessions/~s0/extend{query}") for query in words.WRONG_EXTENSIONS]],
    ),
]

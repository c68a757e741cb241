"""What histories are made of: odd strings, configurations, and everything that is wrong."""

from typing import Any
from urllib.parse import quote

ODD_STRINGS = [
    "",
    " ",
    "é",
    "日本",
    "😀",
    "a b",
    'say "x"',
    "it's",
    "back\\slash",
    "end\\",
    "line\nbreak",
    "tab\t",
    "VCTR|a",
    "PTRN|b",
    "7",
    "Room",
    "null",
    "%s",
    "{x}",
    "[a, b]",
    "x" * 300,
    "\u0301combining",
    "\u2028",
    "\x00",
    "\x7f",
    "--",
    "a',b",
]
NODE_ENDINGS = [
    " b c",
    "-d",
    ".e/f",
    '"g"',
    "é",
    "日本",
    "$*<>:|?",
    "it's",
    "\\",
    "_" + "l" * 60,
    "\n",
    "%41",
    "#x&y=z+",
]
METADATA: list[dict[str, Any]] = [
    {},
    {"a": 1},
    {"a": "x", "b": None},
    {"a": [1, "x", 1], "c": {"d": [1.5]}},
    {"a": True, "é": "ü"},
    {"b": []},
]
VECTORS: list[Any] = [
    [[0.1, 0.2]],
    [[0.1, 0.2], [0.3, 0.4]],
    [[1, 2]],
    [[0.1, 0.2], [0.1]],
    [[0.1, 0.2, 0.3], [0.1, 0.2]],
    [[]],
    [],
    [[0.5, 0.5, 0.5]],
]
CONFIG: dict[str, list[Any]] = {
    "process_predictions": [True, False],
    "max_pattern_length": [0, 1, 2, 3],
    "stm_mode": ["CLEAR", "ROLLING", "CLEAR"],
    "persistence": [1, 2, 5, 100],
    "recall_threshold": [0.0, 0.1, 0.3, 0.6, 1.0, 1, 0],
    "max_predictions": [1, 2, 5, 100],
    "rank_sort_algo": ["potential", "similarity", "frequency", "bayesian_posterior", "weighted_snr", "tfidf_score"],
    "sort_symbols": [True, False],
    "use_token_matching": [True, True, False],
    "indexer_type": ["VI", "LSH"],
    "unknown_key": [1, None],
}
_WRONG_VALUES: dict[str, list[Any]] = {
    "process_predictions": ["yes", 1, 0, "no", None, []],
    "max_pattern_length": [-1, "3", 2.0, 2.5, True, None, [], 10**30],
    "stm_mode": ["rolling", "X", "", 5, None, []],
    "persistence": [0, 101, "5", 2.0, 2.5, None, True],
    "recall_threshold": [-0.1, 1.5, "0.5", None, True, [], {}],
    "max_predictions": [0, 10001, "5", 7.0, 7.5, None, -3, True],
    "rank_sort_algo": ["nope", "", 5, None, "Potential", "snr"],
    "sort_symbols": ["no", 1, None],
    "use_token_matching": ["no", 0, None],
    "indexer_type": ["nope", 5, None, "vi"],
    "fuzzy_token_threshold": [1.5, -1, "x", None, 0.0],
    "affinity_emotive": [5, "joy", None, ""],
    "filter_pipeline": [["nope"], "length", None, [5], []],
    "length_min_ratio": [-1, 2.0, "x", None],
    "jaccard_threshold": [2, "x", 0.5],
    "minhash_bands": [0, 1000, 20.5],
    "minhash_rows": [0, 5],
    "minhash_num_hashes": [1, 100],
    "bloom_false_positive_rate": [0, 1.0, 0.01],
    "max_candidates_per_stage": [1, 100],
    "enable_filter_metrics": ["x", True],
}
WRONG_CONFIG = [(name, value) for name, values in _WRONG_VALUES.items() for value in values]
_ANYTHING: list[Any] = [None, True, 0, 5, 1.5, "x", "", [], [1], {}, {"a": 1}]


def _each(**fields: list[Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in fields.items() for value in values]


_FLAG_VALUES: list[Any] = [*_ANYTHING, "yes", "on", "true", "0", "OFF", "Y", 1, 2, 1.0, 0.0, " true"]
_EMOTIVES: list[Any] = ["x", None, "1.5", True, [], " 7 ", "1_0"]
LEFT_OUT = object()
WRONG_OBSERVATION = _each(
    strings=[*_ANYTHING, ["a", 5], [None, 1], [["a"]], {"0": "a"}],
    # Not of one number: the stand-in for Qdrant beside a real KATO finds other sizes near it, as Qdrant never does.
    vectors=[*_ANYTHING, [["x"]], [[None]], [5], [[True, False]], [["1.5", "2"]], [[[1]]], ["ab"]],
    emotives=[
        *_ANYTHING,
        *[{"a": value} for value in _EMOTIVES],
    ],
    metadata=_ANYTHING,
    unique_id=_ANYTHING,
)
WRONG_SEQUENCE = _each(
    observations=[*_ANYTHING, ["a"], [None], [[]]],
    learn_after_each=_FLAG_VALUES,
    learn_at_end=_FLAG_VALUES,
    clear_stm_between=_FLAG_VALUES,
)
WRONG_CREATION = _each(
    node_id=[LEFT_OUT, None, 5, [], {}, True, 1.5],
    ttl_seconds=[-1, -5, 10**12, 10**30, "60", " 60 ", "x", 1.5, 200.0, [], {}, "100.0", ""],
    config=[None, 5, "x", [], True],
    metadata=[None, 5, "x", [], True, {"a": None}],
)
WRONG_EXTENSIONS = [
    "?ttl_seconds=",
    "?ttl_seconds=x",
    "?ttl_seconds=1.5",
    "?ttl_seconds=2.0",
    "?ttl_seconds=%2060%20",
    "?ttl_seconds=100&ttl_seconds=500",
    "?ttl=5",
    "?ttl_seconds=999999999999999999",
]
UNKNOWN_SESSIONS = [
    "nope",
    "session-0",
    "é",
    "a b",
    '"',
    "x" * 200,
    "..%2f",
    "it's",
    "session-00000000000000000000000000000000-1",
]
MALFORMED = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b"[1]",
    b"null",
    b"true",
    b"5",
    b"1.5",
    b'"x"',
    b"\xff",
    b'{"strings": ["\xff"]}',
    b'{"strings": ["a"}',
    b'{"strings": ["a"],}',
    b"{'strings': []}",
    b'{"strings": ["a"]} x',
    b'{"strings": ["a"], "strings": ["b"]}',
    b'{"strings": ["\\ud83d"]}',
    b'{"strings": ["\\ud83d\\ude00"]}',
    b'{"strings": ["a\nb"]}',
    b'{"strings": [NaN]}',
    b'\xef\xbb\xbf{"strings": ["a"]}',
    b"\xff\xfe{\x00}\x00",
    b'{"a": ' * 5,
    b"[" * 300 + b"]" * 300,
    b'{"node_id": "~n0", "config": {}, "observations": [], "strings": []}',
    b'{"metadata": {"a": NaN}}',
    b"{}",
    b'{"observations": {}}',
    b'{"observations": [{}]}',
    b'{"observations": [{"strings": "abc"}, 5, {"vectors": [["x"]], "emotives": {"a": []}}]}',
]
SESSION_ROUTES = [
    ("GET", ""),
    ("GET", "stm"),
    ("GET", "cognition-data"),
    ("GET", "percept-data"),
    ("GET", "predictions"),
    ("GET", "config"),
    ("GET", "exists"),
    ("POST", "observe"),
    ("POST", "observe-sequence"),
    ("POST", "config"),
    ("POST", "learn"),
    ("POST", "clear-stm"),
    ("POST", "clear-all"),
    ("POST", "finalize-training"),
    ("POST", "extend"),
    ("DELETE", ""),
]
WRONG_ROUTES = [
    ("GET", "/sessions"),
    ("PUT", "/sessions"),
    ("GET", "/sessions/"),
    ("POST", "/sessions/"),
    ("GET", "/sessions/~s0/nope"),
    ("GET", "/sessions/~s0/observe"),
    ("PUT", "/sessions/~s0/observe"),
    ("GET", "/sessions/~s0/learn"),
    ("POST", "/sessions/~s0/stm"),
    ("POST", "/sessions/~s0"),
    ("PATCH", "/sessions/~s0"),
    ("DELETE", "/sessions/~s0/stm"),
    ("GET", "/sessions/~s0/stm/"),
    ("GET", "/sessions/~s0/stm/more"),
    ("GET", "/sessions/nope/nope"),
    ("POST", "/sessions/nope/stm"),
    ("GET", "/nope"),
    ("POST", "/nope"),
    ("GET", "/pattern/PTRN|x"),
    ("GET", "/pattern/"),
    ("POST", "/pattern/PTRN|x"),
    ("GET", "/pattern/a/b"),
    ("POST", "/health"),
    ("DELETE", "/health"),
]

# The choice below is what the recorded questions ask.
WRONG_BODIES_OF_CREATIONS: list[Any] = [
    {},
    [],
    None,
    {"node_id": 5},
    {"node_id": None, "ttl_seconds": "x", "config": 5, "metadata": []},
    {"node_id": ["~n0"]},
    {"node_id": "~n0", "metadata": None, "config": None, "ttl_seconds": None},
]
TTL_TO_RECORD: list[Any] = [0, None, 60, "60", " 60 ", "60.0", 1.5, 60.0, True, [], -1, 10**12]
VECTORS_TO_RECORD: list[Any] = [[[0.1, 0.2], [0.1]], [[1, 2, 3], [1, 2]], [[]], []]
CONFIG_TO_RECORD: list[tuple[str, Any]] = [
    ("process_predictions", "yes"),
    ("max_pattern_length", -1),
    ("max_pattern_length", "3"),
    ("stm_mode", "nonsense"),
    ("persistence", 0),
    ("recall_threshold", 1.5),
    ("recall_threshold", 1),
    ("recall_threshold", None),
    ("max_predictions", 0),
    ("max_predictions", 7.0),
    ("max_predictions", None),
    ("rank_sort_algo", "bayesian_posterior"),
    ("rank_sort_algo", "weighted_snr"),
    ("rank_sort_algo", "nope"),
    ("indexer_type", "nope"),
    ("sort_symbols", "no"),
    ("use_token_matching", False),
    ("fuzzy_token_threshold", 0.0),
    ("fuzzy_token_threshold", 1.5),
    ("affinity_emotive", "joy"),
    ("filter_pipeline", ["nope"]),
    ("filter_pipeline", "length"),
    ("length_min_ratio", -1),
    ("enable_filter_metrics", "x"),
    ("unknown_key", 1),
]
MALFORMED_TO_RECORD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b'{"strings": ["\xff"]}',
    b'{"strings": ["a"],}',
    b'{"strings": ["a"]} x',
    b'{"strings": ["a"], "strings": ["b"]}',
    b'{"strings": ["a\nb"]}',
    b'{"strings": [NaN]}',
    b'\xef\xbb\xbf{"strings": ["a"]}',
]
MALFORMED_SEQUENCES = [
    b"{}",
    b'{"observations": {}}',
    b'{"observations": [{}, 5]}',
    b'{"observations": [{"strings": "abc"}, null, {"vectors": [["x"]], "emotives": {"a": []}}], "learn_at_end": []}',
    b'{"observations": [{"unique_id": 5}]}',
    b'{"observations": [{"unique_id": "", "strings": ["a"]}]}',
]
WRONG_FIELDS: list[dict[str, Any]] = [
    {"strings": "abc"},
    {"strings": None},
    {"strings": ["a", 5, None]},
    {"vectors": "x"},
    {"vectors": [["x"], 5, [None]]},
    {"vectors": [["1.5"]]},
    {"vectors": [[True]]},
    {"emotives": []},
    {"emotives": {"a": "x", "b": None, "c": []}},
    {"emotives": {"a": "1.5", "b": True}},
    {"metadata": "x"},
    {"metadata": None},
]


def escaped(node_id: str) -> str:
    """A node id for a query; its `~n0` stays readable."""
    return quote(node_id, safe="~")

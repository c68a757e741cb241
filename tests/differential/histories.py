"""Random histories: what a seed makes of the calls that KATO knows, right ones and wrong ones."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.differential import words
from tests.differential.calls import Call, asks


class Maker:
    """Makes one history. It follows no answers, so that any call may later be left out of it."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.nodes = [self._node(index) for index in range(self.random.choice([1, 1, 1, 2]))]
        self.sessions = 0
        self.alphabet = self._alphabet()
        self.predicting = self.random.random() < 0.35
        self.vectors = self.random.random() < 0.15

    def history(self, length: int, kinds: Sequence[str] = ()) -> list[Call]:
        """A session, then `length` calls of all kinds or of those named."""
        makers = {kind: make for kind, (_, make) in KINDS.items() if not kinds or kind in kinds}
        weights = [KINDS[kind][0] for kind in makers]
        calls = [self.create()]
        while len(calls) <= length:
            kind = self.random.choices(list(makers), weights)[0]
            calls.append(makers[kind](self)._replace(kind=kind))
        if not kinds and self.random.random() < 0.05:
            calls += self.short_lived()
        return calls

    def _node(self, index: int) -> str:
        odd = self.random.choice(words.NODE_ENDINGS) if self.random.random() < 0.15 else ""
        return f"~n{index}{odd}"

    def _alphabet(self) -> list[str]:
        letters = list("abcde")[: self.random.choice([2, 3, 5])]
        if self.random.random() < 0.4:
            letters += self.random.sample(words.ODD_STRINGS, 2)
        return letters

    # --------------------------------------------------------------------------------------- parts

    def session(self) -> str:
        """A session asked for earlier; newer ones more often."""
        last = self.sessions - 1
        return f"~s{max(self.random.randint(0, last), self.random.randint(0, last))}"

    def strings(self) -> list[str]:
        size = self.random.choices([0, 1, 2, 3], [1, 6, 3, 1])[0]
        return [self.random.choice(self.alphabet) for _ in range(size)]

    def observation(self) -> dict[str, Any]:
        body: dict[str, Any] = {"strings": self.strings()}
        if self.random.random() < 0.15:
            body["emotives"] = {
                name: self.random.choice([0.0, 0.25, 0.5, -1.0, 1, 3.3])
                for name in self.random.sample(["joy", "fear", "utility"], self.random.choice([0, 1, 2]))
            }
        if self.random.random() < 0.15:
            body["metadata"] = self.random.choice(words.METADATA)
        if self.vectors and self.random.random() < 0.4:
            body["vectors"] = self.random.choice(words.VECTORS)
        return body

    def config(self) -> dict[str, Any]:
        names = self.random.sample(list(words.CONFIG), self.random.choice([0, 1, 1, 2]))
        return {name: self.random.choice(words.CONFIG[name]) for name in names}

    # --------------------------------------------------------------------------------------- calls

    def create(self) -> Call:
        body: dict[str, Any] = {"node_id": self.random.choice(self.nodes)}
        config = {"process_predictions": self.predicting, **self.config()}
        if self.random.random() < 0.9:
            body["config"] = config
        if self.random.random() < 0.2:
            body["ttl_seconds"] = self.random.choice([0, 60, 100000, None])
        if self.random.random() < 0.2:
            body["metadata"] = self.random.choice(words.METADATA)
        if self.random.random() < 0.1:
            body["unknown"] = 1
        return self._creating(body)

    def _creating(self, body: dict[str, Any]) -> Call:
        self.sessions += 1
        return asks("create", "POST", "/sessions", body)._replace(makes=f"~s{self.sessions - 1}")

    def short_lived(self) -> list[Call]:
        """A session of six seconds: what makes it live longer, and what is left of it."""
        alone = self.create()
        body = {"node_id": self.nodes[0], "ttl_seconds": 6, "config": {"process_predictions": False}}
        session = f"/sessions/{alone.makes}"
        touches = [
            asks("observe", "POST", f"{session}/observe", self.observation()),
            asks("extend", "POST", f"{session}/extend?ttl_seconds=100"),
            *[
                asks(action, "GET", f"{session}/{action}".rstrip("/"))
                for action in ("stm", "", "exists", "cognition-data")
            ],
        ]
        wait = Call("wait", "WAIT", "3.5")
        return [
            asks("create", "POST", "/sessions", body)._replace(makes=alone.makes),
            asks("observe", "POST", f"{session}/observe", {"strings": ["a"]}),
            wait,
            self.random.choice(touches),
            *([self.random.choice(touches)] if self.random.random() < 0.3 else []),
            wait,
            asks("exists", "GET", f"{session}/exists"),
            asks("stm", "GET", f"{session}/stm"),
        ]

    def create_wrongly(self) -> Call:
        field, value = self.random.choice(words.WRONG_CREATION)
        body = {"node_id": self.nodes[0], field: value}
        if value is words.LEFT_OUT:
            del body[field]
        return self._creating(body)

    def observe(self) -> Call:
        body = self.observation()
        if self.random.random() < 0.05:
            body |= {"unknown": 1, "unique_id": "mine"}
        ascii_only = self.random.random() < 0.5
        return asks("observe", "POST", f"/sessions/{self.session()}/observe", body, ascii_only=ascii_only)

    def sequence(self) -> Call:
        observations = [self.observation() for _ in range(self.random.choice([0, 1, 2, 3, 4, 6]))]
        for item in observations:
            if self.random.random() < 0.1:
                item["unique_id"] = self.random.choice(["mine", "", 'q"uote', "é", None])
        body: dict[str, Any] = {"observations": observations}
        for flag in ("learn_after_each", "learn_at_end", "clear_stm_between"):
            if self.random.random() < 0.12:
                body[flag] = self.random.choice([True, True, False])
        return asks("sequence", "POST", f"/sessions/{self.session()}/observe-sequence", body)

    def long_sequence(self) -> Call:
        """Enough that two of them are more than the STM keeps. Slow with predictions: rather short there."""
        size = self.random.choice([30, 60] if self.predicting else [400, 700, 1005])
        body = {"observations": [{"strings": [self.random.choice(self.alphabet)]} for _ in range(size)]}
        return asks("sequence", "POST", f"/sessions/{self.session()}/observe-sequence", body)

    def on_session(self, method: str, action: str) -> Call:
        return asks(action, method, f"/sessions/{self.session()}/{action}".rstrip("/"))

    def extend(self) -> Call:
        query = self.random.choice(["", "?ttl_seconds=100", "?ttl_seconds=7200", *words.WRONG_EXTENSIONS])
        return asks("extend", "POST", f"/sessions/{self.session()}/extend{query}")

    def configure(self) -> Call:
        body: Any = self.config()
        if self.random.random() < 0.8:
            body = {"config": body}
        return asks("config", "POST", f"/sessions/{self.session()}/config", body)

    def configure_wrongly(self) -> Call:
        body: Any = {"config": dict([self.random.choice(words.WRONG_CONFIG)])}
        if self.random.random() < 0.2:
            body = self.random.choice([{"config": None}, {"config": []}, {"config": "x"}, [], {}])
        return asks("config", "POST", f"/sessions/{self.session()}/config", body)

    def create_with_wrong_config(self) -> Call:
        config = dict(self.random.sample(words.WRONG_CONFIG, self.random.choice([1, 1, 2])))
        return self._creating({"node_id": self.nodes[0], "config": {"max_predictions": 7, **config}})

    def pattern(self) -> Call:
        name = self.random.choice(["~p0", "~p1", "~p2", "~p3", "PTRN|unknown", "unknown"])
        node = self.random.choice(self.nodes)
        return asks("pattern", "GET", f"/pattern/{name}?node_id={words.escaped(node)}")

    def unknown_session(self) -> Call:
        method, action = self.random.choice(words.SESSION_ROUTES)
        path = f"/sessions/{self.random.choice(words.UNKNOWN_SESSIONS)}/{action}".rstrip("/")
        return asks("unknown", method, path, {"observations": []} if method == "POST" else None)

    def malformed(self) -> Call:
        action = self.random.choice(["observe", "observe", "observe-sequence", "config"])
        body = self.random.choice(words.MALFORMED)
        return Call("malformed", "POST", f"/sessions/{self.session()}/{action}", body)

    def malformed_creation(self) -> Call:
        return Call("malformed", "POST", "/sessions", self.random.choice(words.MALFORMED))

    def wrong_types(self) -> Call:
        field, value = self.random.choice(words.WRONG_OBSERVATION)
        wrong = {**self.observation(), field: value}
        if self.random.random() < 0.5:
            return asks("observe", "POST", f"/sessions/{self.session()}/observe", wrong)
        if self.random.random() < 0.5:
            field, value = self.random.choice(words.WRONG_SEQUENCE)
            body: dict[str, Any] = {"observations": [self.observation()], field: value}
        else:
            body = {"observations": [self.observation(), wrong]}
        return asks("sequence", "POST", f"/sessions/{self.session()}/observe-sequence", body)

    def content_type(self) -> Call:
        kind = self.random.choice(
            [None, "text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded"]
        )
        return self.observe()._replace(content_type=kind)

    def wrong_route(self) -> Call:
        method, path = self.random.choice(words.WRONG_ROUTES)
        return asks("route", method, path)


def _plain(method: str, action: str) -> Callable[[Maker], Call]:
    return lambda maker: maker.on_session(method, action)


KINDS: dict[str, tuple[float, Callable[[Maker], Call]]] = {
    "observe": (20, Maker.observe),
    "sequence": (12, Maker.sequence),
    "long sequence": (0.3, Maker.long_sequence),
    "learn": (8, _plain("POST", "learn")),
    "predictions": (8, _plain("GET", "predictions")),
    "stm": (5, _plain("GET", "stm")),
    "cognition": (4, _plain("GET", "cognition-data")),
    "percept": (3, _plain("GET", "percept-data")),
    "pattern": (4, Maker.pattern),
    "create": (3, Maker.create),
    "get": (1, _plain("GET", "")),
    "exists": (1, _plain("GET", "exists")),
    "read config": (1, _plain("GET", "config")),
    "config": (2, Maker.configure),
    "clear-stm": (3, _plain("POST", "clear-stm")),
    "clear-all": (0.7, _plain("POST", "clear-all")),
    "finalize-training": (0.7, _plain("POST", "finalize-training")),
    "extend": (1, Maker.extend),
    "delete": (0.5, _plain("DELETE", "")),
    "unknown session": (1.5, Maker.unknown_session),
    "malformed": (2, Maker.malformed),
    "malformed creation": (0.5, Maker.malformed_creation),
    "wrong types": (3, Maker.wrong_types),
    "wrong config": (1.5, Maker.configure_wrongly),
    "wrong config at creation": (1, Maker.create_with_wrong_config),
    "wrong creation": (1, Maker.create_wrongly),
    "content type": (0.7, Maker.content_type),
    "wrong route": (0.7, Maker.wrong_route),
}
"""How often each kind of call is made, and by what."""


def history(seed: int, index: int, kinds: Sequence[str] = ()) -> list[Call]:
    """History number `index` of `seed`."""
    maker = Maker(f"{seed}/{index}")
    return maker.history(maker.random.randint(8, 40), kinds)

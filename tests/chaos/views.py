"""Views into a run's store and its KATO: what the judgement stands on."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of


@dataclass(frozen=True, slots=True)
class Pattern:
    frequency: int
    content: list[list[str]] | None
    """None: KATO counts it and has not written it"""


class Views:
    """``kato_url``: of the embedded KATO, or of the recorder before a real one; ``tag``: a part of the run's names."""

    def __init__(self, kato_url: str, view: redis.Redis, tag: str = "") -> None:
        self.kato_url = kato_url
        self.view = view
        self.tag = tag

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of one call to the embedded KATO, or to the recorder before a real one; None for a 404."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  an address of ours
            self.kato_url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  an address of ours
                return json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return None
            raise

    def stats(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/_embedded/stats"))

    def set_faults(self, rules: list[dict[str, Any]], seed: int) -> None:
        self.ask("POST", "/_embedded/faults", {"rules": rules, "seed": seed})

    def kato_session(self, kato_session: str) -> dict[str, Any] | None:
        return self.ask("GET", f"/_embedded/sessions/{quote(kato_session, safe='')}")  # type: ignore[no-any-return]

    def patterns(self, node: str) -> dict[str, Pattern]:
        """A node's, by name."""
        found = self.ask("GET", f"/_embedded/patterns?node={quote(node, safe='')}") or {}
        return {name: Pattern(int(row["frequency"]), row["data"]) for name, row in found.items()}

    def node_of(self, session: str) -> str:
        """The node that the store has written down for a session, as KATO is told it."""
        return str(self.view.hget(f"{prefix(partition_of(session))}nodes", session) or "")

    def store_ms(self) -> int:
        """The store's clock; the machine's own (they are one) while it is down."""
        try:
            seconds, micros = self.view.time()
        except redis.RedisError:
            return int(time.time() * 1000)
        return int(seconds) * 1000 + int(micros) // 1000

"""Provide faults on demand: a small table of kinds, and rules that choose them reproducibly."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from kato_tasks.kato_wire.names import sanitised

NO_SESSION = frozenset({"create", "pattern", "health"})


@dataclass(frozen=True, slots=True)
class Kind:
    """Describes what a fault does with one call. The steps come in this order."""

    wait_before: bool = False
    prepare: Literal["", "expire", "lose_all"] = ""
    apply: bool = True
    save: bool = True
    clickhouse: bool = True
    wait_after: bool = False
    close: bool = False
    answer: Literal["", "error", "gone", "unavailable"] = ""
    once: bool = False
    sessions_only: bool = False


KINDS: dict[str, Kind] = {
    "delay": Kind(wait_before=True),
    "delay_after": Kind(wait_after=True),
    "drop_before": Kind(apply=False, close=True),
    "drop_after": Kind(close=True),
    "error_before": Kind(apply=False, answer="error"),
    "error_after": Kind(answer="error"),
    "not_saved": Kind(save=False),
    "not_found": Kind(apply=False, answer="gone", sessions_only=True),
    "redis_down": Kind(apply=False, answer="gone"),
    "expire": Kind(prepare="expire", sessions_only=True),
    "unavailable": Kind(apply=False, answer="unavailable"),
    "lose_all": Kind(prepare="lose_all", once=True),
    "clickhouse_down": Kind(clickhouse=False),
}


@dataclass(slots=True)
class Rule:
    """Says when a fault happens: on which route and node, how often, and how many times at most."""

    kind: str
    route: str = "*"
    node: str | None = None
    rate: float = 1.0
    count: int | None = None
    seconds: float = 1.0
    fired: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return this rule as ``GET /_embedded/faults`` lists it."""
        names = ("kind", "route", "node", "rate", "count", "seconds", "fired")
        return {name: getattr(self, name) for name in names}


class Faults:
    """Holds the rules in force. The first one that fires decides what happens to a call."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.seed: int | str = 0
        self.counts: dict[str, int] = {}

    def set(self, body: Any, routes: frozenset[str]) -> None:
        """Replace the rules in force by those of ``body``. Raises ValueError, which says what is wrong."""
        if not isinstance(body, dict):
            raise ValueError("the body must be an object")
        given = body.get("rules")
        if not isinstance(given, list):
            raise ValueError("rules must be a list")
        rules = [_rule(item, routes) for item in given]
        seed = body.get("seed", 0)
        if not isinstance(seed, (int, str)):
            raise ValueError("seed must be a whole number or text")
        self.rules, self.seed = rules, seed

    def clear(self) -> None:
        """Remove all rules."""
        self.rules = []

    def choose(self, route: str, node: str) -> Rule | None:
        """Return the rule that fires for the next call of ``route`` on the sanitised ``node``, or None.

        An empty ``node`` stands for a call that is on no node.

        The same seed and the same sequence of calls on a node give the same faults, however the calls of
        different nodes are interleaved.
        """
        for index, rule in enumerate(self.rules):
            if rule.route not in ("*", route) or (rule.route == "*" and route == "health"):
                continue
            if KINDS[rule.kind].sessions_only and route in NO_SESSION:
                continue
            if rule.node is not None and rule.node != node:
                continue
            if rule.count is not None and rule.fired >= rule.count:
                continue
            if rule.rate < 1.0:
                turn = rule.seen[node] = rule.seen.get(node, 0) + 1
                if random.Random(f"{self.seed}|{index}|{node}|{turn}").random() >= rule.rate:
                    continue
            rule.fired += 1
            self.counts[rule.kind] = self.counts.get(rule.kind, 0) + 1
            return rule
        return None


def _rule(item: Any, routes: frozenset[str]) -> Rule:
    if not isinstance(item, dict):
        raise ValueError("a rule must be an object")
    unknown = set(item) - {"kind", "route", "node", "rate", "count", "seconds"}
    if unknown:
        raise ValueError(f"a rule has no {', '.join(sorted(unknown))}")
    kind = item.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    rule = Rule(kind, count=1 if KINDS[kind].once else None)
    route = item.get("route", "*")
    if route != "*" and route not in routes:
        raise ValueError(f"route must be * or one of {', '.join(sorted(routes))}")
    rule.route = route
    node = item.get("node")
    if node is not None and not isinstance(node, str):
        raise ValueError("node must be text")
    rule.node = None if node is None else sanitised(node)
    rule.rate = _number(item, "rate", 1.0, high=1.0)
    rule.seconds = _number(item, "seconds", 1.0, high=600.0)
    count = item.get("count", rule.count)
    if count is not None and (type(count) is not int or count < 0):
        raise ValueError("count must be a whole number of 0 or more")
    rule.count = count
    return rule


def _number(item: dict[str, Any], name: str, default: float, *, high: float) -> float:
    value = item.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
        raise ValueError(f"{name} must be a number from 0 to {high:g}")
    return float(value)

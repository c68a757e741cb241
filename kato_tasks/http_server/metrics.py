"""Figures of the server and of the whole system, for Prometheus."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kato_tasks.api.call_figures import RouteFigures
from kato_tasks.api.status import Counts
from kato_tasks.api.status.presence import ListenerStatus
from kato_tasks.errors import KatoTasksError

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PLACE = ("instance", "route")
WORDS = {
    "backlog": "Events that are appended and not applied yet.",
    "oldest_unapplied_seconds": "Age of the oldest event that is not applied yet.",
    "appended": "Events that were ever appended.",
    "applied": "Events that were ever applied.",
    "sessions_unapplied": "Sessions with events that are not applied yet.",
    "lanes_due": "Lanes that are leased, due, or wait for a due time.",
    "dead_letters": "Events that will not be applied.",
    "parked": "Sessions that wait for a person.",
    "scheduled": "Events kept for a later append.",
    "unpublished": "Task messages that wait for the broker.",
    "fenced": "How often a KATO session was replaced because a call's outcome was unknown.",
    "rebuilt": "How often a short-term memory was rebuilt.",
    "reordered": "Rebuilds after which KATO holds events with vectors in another order.",
    "leftovers": "KATO sessions that may be left over.",
    "learns_unknown": "Learns whose outcome could not be found out.",
    "ltm_lost": "Nodes whose patterns KATO lost.",
    "rebuild_wanted": "Nodes whose patterns are in doubt.",
    "unreadable_lanes": "Lanes whose own rows cannot be read.",
}


class _System(Collector):
    """Collects the figures of the store at each scrape."""

    def __init__(
        self,
        read: Callable[[], Counts],
        read_calls: Callable[[], list[RouteFigures]],
        read_listeners: Callable[[], list[ListenerStatus]],
    ) -> None:
        self._read = read
        self._read_calls = read_calls
        self._read_listeners = read_listeners

    def collect(self) -> Iterable[Metric]:
        """Yield one gauge for each figure, and whether the store answered."""
        up = GaugeMetricFamily("kato_tasks_store_up", "Whether the store answered this scrape.")
        try:
            counts, calls, listeners = self._read(), self._read_calls(), self._read_listeners()
        except KatoTasksError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        for name, value in counts.model_dump().items():
            gauge = GaugeMetricFamily(f"kato_tasks_{name}", WORDS[name])
            gauge.add_metric([], float(value or 0))
            yield gauge
        yield from _of_calls(calls)
        yield from _of_listeners(listeners)


def _of_calls(calls: list[RouteFigures]) -> Iterable[Metric]:
    """Yield how calls to KATO ended and how long they took, over all workers."""
    ended = CounterMetricFamily("kato_tasks_kato_calls", "Calls to KATO, by how they ended.", labels=(*PLACE, "status"))
    took = HistogramMetricFamily("kato_tasks_kato_call_seconds", "Time from a call to KATO to its end.", labels=PLACE)
    for one in calls:
        for ending, number in sorted(one.endings.items()):
            ended.add_metric([one.url, one.route, ending], number)
        bounds = [(f"{bound / 1000:g}", float(number)) for bound, number in one.within.items()]
        took.add_metric([one.url, one.route], [*bounds, ("+Inf", float(one.calls))], one.seconds)
    yield ended
    yield took


def _of_listeners(listeners: list[ListenerStatus]) -> Iterable[Metric]:
    """Yield how listeners stand, by what they read. One that is gone counts among those in the state ``gone`` alone."""
    there = GaugeMetricFamily("kato_tasks_listeners", "Listeners, by how they stand.", labels=("source", "state"))
    rate = GaugeMetricFamily("kato_tasks_listener_messages_per_second", "Messages read lately.", labels=("source",))
    lag = GaugeMetricFamily("kato_tasks_listener_lag", "Messages that wait in the broker.", labels=("source",))
    unsent = GaugeMetricFamily("kato_tasks_sink_unsent", "Predictions that a sink is owed.", labels=("sink",))
    states = collections.Counter((one.source, one.shown_state) for one in listeners)
    for (source, state), number in sorted(states.items()):
        there.add_metric([source, state], number)
    live = [one for one in listeners if not one.gone]
    for source in sorted({one.source for one in live}):
        mine = [one for one in live if one.source == source]
        rate.add_metric([source], sum(one.rate for one in mine))
        lags = [one.lag for one in mine if one.lag is not None]
        if lags:
            # Readers of one queue or stream tell the same; those of a topic tell what waits in their own partitions.
            lag.add_metric([source], sum(lags) if source.startswith("kafka ") else max(lags))
    for sink in sorted({one.sink for one in live if one.sink}):
        unsent.add_metric([sink], max(one.unsent for one in live if one.sink == sink))
    yield from (there, rate, lag, unsent)


class Metrics:
    """The figures of one server process. The functions read those of all from the store."""

    def __init__(
        self,
        read_counts: Callable[[], Counts],
        read_calls: Callable[[], list[RouteFigures]],
        read_listeners: Callable[[], list[ListenerStatus]],
    ) -> None:
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self.registry}
        self._seconds = Histogram(
            "kato_tasks_http_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ("route", "method", "status"),
            buckets=SECONDS,
            **named,
        )
        self._events = Counter(
            "kato_tasks_http_events", "Events that came over HTTP, by what became of them.", ("status",), **named
        )
        self.connections = Gauge("kato_tasks_http_connections", "Open HTTP connections of this process.", **named)
        self._children: dict[tuple[str, str, int], Any] = {}
        self._statuses = {name: self._events.labels(name) for name in ("accepted", "duplicate", "rejected")}
        self.registry.register(_System(read_counts, read_calls, read_listeners))

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        child = self._children.get((route, method, status))
        if child is None:
            child = self._seconds.labels(route, method, str(status))
            self._children[route, method, status] = child
        child.observe(seconds)

    def count_events(self, status: str, number: int) -> None:
        """Count events that were ``accepted``, a ``duplicate`` or ``rejected``."""
        self._statuses[status].inc(number)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format. Asks the store, so a thread calls this."""
        return generate_latest(self.registry)


__all__ = ["MEDIA_TYPE", "Metrics"]

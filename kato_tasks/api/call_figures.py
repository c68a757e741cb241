"""Read how calls to KATO went, over all processes: how many, how they ended, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass, field

from kato_tasks.bootstrap import Runtime
from kato_tasks.engine.running.call_figures import BOUNDS_MS


@dataclass(slots=True)
class RouteFigures:
    """The calls to one route of an instance since the store was set up.

    ``endings`` counts the calls by how they ended (``2xx``, …, ``none``). ``within`` counts the calls that took at most
    as many milliseconds as its key says, in rising order; ``seconds`` is the time of all calls together.
    """

    url: str
    route: str
    endings: dict[str, int] = field(default_factory=dict)
    within: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def calls(self) -> int:
        """Return how many calls there were."""
        return sum(self.endings.values())


def read_call_figures(rt: Runtime) -> list[RouteFigures]:
    """Return the figures of each instance and route that was called. Raises StoreUnavailable."""
    found: dict[tuple[str, str], RouteFigures] = {}
    exact: dict[tuple[str, str], dict[str, int]] = {}
    for name, count in rt.figures.call_counts().items():
        url, route, what = name.split("\n")
        figures = found.setdefault((url, route), RouteFigures(url, route))
        if what == "ms":
            figures.seconds = count / 1000
        elif what.startswith("to "):
            exact.setdefault((url, route), {})[what[3:]] = count
        else:
            figures.endings[what] = count
    for place, figures in found.items():
        counted, total = exact.get(place, {}), 0
        for bound in BOUNDS_MS:
            total += counted.get(str(bound), 0)
            figures.within[bound] = total
    return [found[place] for place in sorted(found)]


__all__ = ["RouteFigures", "read_call_figures"]

"""The README's measured figures, from the result files of the benchmarks and the chaos runs."""

from __future__ import annotations

import json
import re
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "benchmarks" / "results"
VARIANTS = {
    "guide": "the guide's task: a new `httpx.Client` per call",
    "guide 8 threads": "the same, 4 sessions of 100, 8 threads",
    "pooled": "the guide's task with a pooled client",
    "empty": "an empty Celery task",
    "delay": "`process_observation_async.delay()`",
    "lanes": "`append_events`, 100 sessions of 400",
    "many": "`append_events`, 10,000 sessions of 4, session by session",
    "many in turns": "`append_events`, 10,000 sessions of 4, sessions in turns",
}


def bench_figures(source: Path) -> str:
    """The benchmark's table, from one of its result files."""
    result = json.loads(source.read_text())
    rows = [
        "| on the embedded KATO | events/s | empty task = 1 | ms to apply, p50 / p99 | lost | duplicated | inverted |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in result["medians"].items():
        paced = found.get("paced_ms")
        latency = f"{paced[0]:,.0f} / {paced[1]:,.0f}" if paced else ""
        books = found.get("books") or {}
        counts = [f"{books[key]:,}" if key in books else "" for key in ("lost", "duplicated", "inverted")]
        times = f"{found['times_empty']:.2f}" if found["times_empty"] < 10 else f"{found['times_empty']:.1f}"
        rows.append(f"| {VARIANTS[name]} | {found['rate']:,.0f} | {times} | {latency} | {' | '.join(counts)} |")
    machine = result["machine"]
    how = (
        f"Medians of {result['repeat']} interleaved runs, {result['pool']}, Redis {machine['redis']}, Celery "
        f"{machine['celery']}"
    )
    told = textwrap.wrap(f"{how}; {_link(source)}.", 118, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*rows, "", *told])


def _link(source: Path) -> str:
    path = source.relative_to(CHECKOUT)
    return f"source [{path}]({path})"


def helpdesk_figures(source: Path) -> str:
    """The help-desk table, from the demo's figures."""
    found = json.loads(source.read_text())
    config = ", ".join(f"`{name}` {value}" for name, value in found["kato_session_config"].items())
    real = source.with_name("helpdesk-real.json")
    columns = {f"the embedded KATO, {_started(found.get('kato_environment'))}": [found["accuracy"]]}
    for run in json.loads(real.read_text())["runs"] if real.exists() else ():
        name = f"KATO {run['kato'].get('version', '')}, {_started(run['environment'])}"
        columns.setdefault(name, []).append(run["accuracy"])
    columns["most frequent follower of the last activity"] = [found["baseline"]]
    names = [f"{name}, {len(runs)} starts" if len(runs) > 1 else name for name, runs in columns.items()]
    rows = [f"| next activity of a ticket | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for key, name in (("top_1", "right at first"), ("top_3", "among the first three")):
        shares = [[run[key] for run in runs] for runs in columns.values()]
        rows.append(f"| {name} | {' | '.join(map(_range, shares))} |")
    count = {name: f"{value:,}" for name, value in found.items() if isinstance(value, int)}
    told = (
        f"A real help-desk log, {count['tickets']} tickets with {count['events']} events, ids with spaces. The first "
        f"{count['tickets_learned']} tickets were observed and learned ({count['patterns']} different patterns); in "
        f"the other {count['tickets_predicted']}, after each prefix of at least two events, KATO was asked what comes "
        f"next: {count['predictions']} predictions. KATO ranks by its server's "
        "`RANK_SORT_ALGO`, whatever a session says; by its default, `potential`, the order differs from process to "
        "process and from start to start. Session config: "
        f"{config}; {_link(source)}"
    )
    told += f", [{real.relative_to(CHECKOUT)}]({real.relative_to(CHECKOUT)})." if real.exists() else "."
    return "\n".join([*rows, "", *textwrap.wrap(told, 118, break_long_words=False, break_on_hyphens=False)])


def _started(environment: Mapping[str, str] | None) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in (environment or {}).items()) or "as it comes"


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    return low if low == high else f"{low[:-1]} to {high}"


def real_figures(source: Path) -> str:
    """The table of what a KATO that runs by itself does, from ``benchmarks.real``."""
    found = json.loads(source.read_text())
    kato = found["kato"]
    processes = f", {kato['processes']} server processes" if kato.get("processes") else ""
    rows = [f"| on a real KATO {kato.get('version', '')}{processes} | events | events/s |", "|---|---:|---:|"]
    rows += [f"| {row['what']} | {row['events']:,} | {row['per_second']:,.0f} |" for row in found["rows"]]
    told = textwrap.wrap(
        f"Medians of `{found['command']}`; {_link(source)}.", 118, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([*rows, "", *told])


def chaos_figures(source: Path) -> str:
    """The chaos runs: ``source`` with Redis as the broker, the newest with RabbitMQ, and the newest on a real KATO."""
    sources = {"Redis as broker": source, "RabbitMQ as broker": _newest(source.parent, "chaos-*-long-rabbitmq.json")}
    if list(source.parent.glob("chaos-*-real-*.json")):
        sources["a real KATO"] = _newest(source.parent, "chaos-*-real-*.json")
    runs = [json.loads(path.read_text()) for path in sources.values()]
    told = [_chaos_column(run) for run in runs]
    rows = [f"| | {' | '.join(sources)} |", "|---|" + "---:|" * len(sources)]
    # The column of the real KATO has the most rows, and all of them in their order.
    names = dict.fromkeys(name for column in reversed(told) for name in column)
    rows += [f"| {name} | {' | '.join(column.get(name, '-') for column in told)} |" for name in names]
    links = ", ".join(f"[{path.relative_to(CHECKOUT)}]({path.relative_to(CHECKOUT)})" for path in sources.values())
    seeds = ", ".join(str(run["seed"]) for run in runs)
    told_from = textwrap.wrap(f"Seeds {seeds}; source {links}.", 118, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*rows, "", *told_from])


def _chaos_column(run: dict[str, Any]) -> dict[str, str]:
    verdict, happened, outage, control = run["verdict"], run["happened"], run["outage"], run["control"]
    acts, learned = happened["counts"], verdict["frequencies"]
    taken: dict[bool, list[float]] = {True: [], False: []}
    for each in happened["recoveries"]:
        if each["taken"] is not None:
            taken[each["calm"]].append(each["taken"])
    recovery = {
        well: f"{statistics.median(seconds):.1f} s, {max(seconds):.1f} s" for well, seconds in taken.items() if seconds
    }
    return {
        "events, sessions, callers": f"{verdict['attempted']:,}, {run['sessions']:,}, {run['callers']}",
        "workers killed, told to stop, paused; restarts of store, broker": (
            f"{acts['kill']}, {acts['term']}, {acts['stop']}; {acts['store']}, {acts['broker']}"
        ),
        **_acts_on_kato(acts),
        **_newer_rows(run),
        "**lost, duplicated, reordered, overlapped**": "**{lost}, {duplicated}, {reordered}, {overlapped}**".format(
            **verdict
        ),
        "sessions whose STM is not the oracle's": f"{verdict['stm_mismatches']} of {run['sessions']:,}",
        "patterns counted otherwise than by the oracle": f"{learned['mismatches']} of {learned['patterns']:,}",
        "others that may be off by one, each counted as a learn of unknown outcome": str(learned["excused"]),
        "workers that overstayed 30 s": f"{happened['late_ends']} of {acts['term']}",
        "a killed worker's lanes taken, median and max, KATO well": recovery.get(True, "-"),
        "the same while a quarter of KATO's calls fail, so that lanes also wait": recovery.get(False, "-"),
        "tasks that failed while KATO was down for 60 s": _outage(outage),
        "the guide's task: lost, duplicated, inverted of 400": "{lost}, {duplicated}, {inverted}".format(**control)
        if control
        else "-",
    }


def _acts_on_kato(acts: dict[str, int]) -> dict[str, str]:
    """What only a real KATO is put through."""
    if "kato" not in acts:
        return {}
    return {"KATO ended and started again; its Redis or ClickHouse stopped": f"{acts['kato']}; {acts.get('part', 0)}"}


def _outage(outage: dict[str, Any] | None) -> str:
    if outage is None:
        return "-"
    return f"0 of {outage['tasks']['SUCCESS']:,}" if set(outage["tasks"]) == {"SUCCESS"} else str(outage["tasks"])


def _newer_rows(run: dict[str, Any]) -> dict[str, str]:
    """What runs have had since there is a gateway in them."""
    faults = f"{sum(run['kato']['faults'].values()):,}"
    if "gateway" not in run:
        return {"calls of KATO with a fault": faults}
    ruled, asked = sum(run["gateway"]["ruled"].values()), run["predicts"]
    return {
        "calls at which KATO, the gateway before it misbehaved": f"{faults}, {ruled:,}",
        "predicts answered as of their place": f"{asked['ok']:,} of {asked['sent']:,}",
    }


def with_figures(readme: str, place: str, table: str) -> str:
    """The README with a table in its marked place."""
    return re.sub(
        rf"<!-- figures:{place} -->\n.*?<!-- /figures -->",
        lambda _: f"<!-- figures:{place} -->\n{table}\n<!-- /figures -->",
        readme,
        flags=re.DOTALL,
    )


def _newest(directory: Path, pattern: str) -> Path:
    """The result file with the highest number in its name."""
    return max(directory.glob(pattern), key=lambda path: int(re.sub(r"\D", "", path.stem) or 0))


def readme_page(readme: str) -> str:
    """The README with the newest figures there are."""
    if list(RESULTS.glob("bench-*.json")):
        readme = with_figures(readme, "bench", bench_figures(_newest(RESULTS, "bench-*.json")))
    if (RESULTS / "real-kato.json").exists():
        readme = with_figures(readme, "real", real_figures(RESULTS / "real-kato.json"))
    if list(RESULTS.glob("chaos-*-long-redis.json")):
        readme = with_figures(readme, "chaos", chaos_figures(_newest(RESULTS, "chaos-*-long-redis.json")))
    if (RESULTS / "helpdesk.json").exists():
        readme = with_figures(readme, "helpdesk", helpdesk_figures(RESULTS / "helpdesk.json"))
    return readme

"""The drawings of docs/architecture.md: the layers, from the import contracts; the states of an intent, from its table.

The layers are plain text. They are a list by nature, and plain text shows in an editor, in a terminal and on a website;
a change of the layers shows in a diff as a line that moved. The states lead back to one another, which a list shows
badly, so they are a Mermaid diagram: GitHub draws it, and its source, one line for each way, reads well anywhere else.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

from docs.contracts import Layers, read_layers
from kato_tasks.engine.drain.states import MEANING, TRANSITIONS

CHECKOUT = Path(__file__).resolve().parents[1]
WIDTH = 118


def architecture_page(page: str) -> str:
    """docs/architecture.md with its drawings in their marked places."""
    for layers in read_layers(CHECKOUT / "pyproject.toml"):
        page = _placed(page, f"layers:{layers.container or 'kato_tasks'}", layers_drawing(layers))
    return _placed(page, "states", states_drawing())


def states_drawing() -> str:
    """The states of an intent with the ways between them, and below the drawing what each state means."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction TB", "    [*] --> none"]
    # A label ends at a colon or a semicolon, by Mermaid's grammar.
    lines += [f"    {way.state} --> {way.next_state}: {re.sub('[:;]', ',', way.event)}" for way in TRANSITIONS]
    lines += ["```", "", "| state | meaning |", "|---|---|"]
    lines += [f"| `{state}` | {meaning} |" for state, meaning in MEANING.items()]
    return "\n".join(lines)


def layers_drawing(layers: Layers) -> str:
    """The lines of a layers contract, top first, each member with what it is for; a short rule between two lines."""
    prefix = f"{layers.container or 'kato_tasks'}."
    names = {member: member.removeprefix(prefix) for line in layers.lines for member in line.members}
    wide = max(len(name) for name in names.values())
    blocks = []
    for line in layers.lines:
        rows: list[str] = []
        for member in sorted(line.members):
            told = textwrap.wrap(purpose(member), WIDTH - wide - 2, break_long_words=False, break_on_hyphens=False)
            rows += [f"{names[member]:{wide}}  {told[0]}", *(" " * (wide + 2) + more for more in told[1:])]
        blocks.append("\n".join(rows))
    rule = "\n" + "─" * wide + "\n"
    return f"```text\n{rule.join(blocks)}\n```"


def purpose(module: str) -> str:
    """What a module or a package is for: the first paragraph of its docstring, as plain text."""
    path = CHECKOUT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    told = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    assert told, f"{source.relative_to(CHECKOUT)} has no docstring"
    return " ".join(told.split("\n\n")[0].replace("`", "").split())


def _placed(page: str, place: str, drawing: str) -> str:
    assert f"<!-- {place} -->" in page, f"docs/architecture.md has no place for {place}"
    return re.sub(
        rf"<!-- {place} -->\n.*?<!-- /{place} -->",
        lambda _: f"<!-- {place} -->\n{drawing}\n<!-- /{place} -->",
        page,
        flags=re.DOTALL,
    )

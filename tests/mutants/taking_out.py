"""Take one line out of a source file, so that what is left still loads.

A statement goes whole, over all its lines; `if X` and `while X` stay with a condition that never holds, `except X`
catches nothing and `for X` has nothing to go through; a name that was given a value is given none. A line that stands
in several places is taken out in each of them. A row that names a replacement gets exactly that.
"""

from __future__ import annotations

import ast
import re


class CannotTakeOut(ValueError):
    """The line is not there, or is of a kind that only a replacement in the row can say how to take out."""


def take_out(path: str, source: str, line: str, without: str | None = None) -> str:
    """Return `source` (of the file `path`) without `line`. Raises CannotTakeOut."""
    if line not in source:
        raise CannotTakeOut("the line is not in its file")
    if without is not None:
        left = source.replace(line, without)
    elif path.endswith(".py"):
        left = _out_of_python(source, line)
    elif path.endswith(".lua"):
        left = _out_of_lua(source, line)
    else:
        raise CannotTakeOut("only Python and Lua are understood: say in the row what stands there instead")
    if path.endswith(".py"):
        try:
            ast.parse(left)
        except SyntaxError as exc:
            raise CannotTakeOut(f"what is left is no Python: {exc}") from exc
    return left


# ------------------------------------------------------------------------------------------------- Python


def _out_of_python(source: str, line: str) -> str:
    lines = source.splitlines(keepends=True)
    numbers = {number for number, text in enumerate(lines, 1) if text.strip() == line}
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt | ast.ExceptHandler))
    statements = [node for node in found if node.lineno in numbers]
    if {node.lineno for node in statements} != numbers or not numbers:
        raise CannotTakeOut("no statement begins with this line: say in the row what stands there instead")
    # From the end of the file to its start, so that places found before stay where they are.
    for node in sorted(statements, key=lambda node: node.lineno, reverse=True):
        start, end, text = _replacement(node)
        lines = _replaced(lines, start, end, text)
    return "".join(lines)


Place = tuple[int, int]


def _replacement(node: ast.stmt | ast.ExceptHandler) -> tuple[Place, Place, str]:
    """From where to where, and what stands there afterwards."""
    if isinstance(node, ast.If | ast.While):
        return (node.test.lineno, node.test.col_offset), _end(node.test), "False"
    if isinstance(node, ast.For):
        return (node.iter.lineno, node.iter.col_offset), _end(node.iter), "()"
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        return (node.type.lineno, node.type.col_offset), _end(node.type), "()"
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if value is not None:
        return (value.lineno, value.col_offset), _end(value), "None"
    if hasattr(node, "body"):
        raise CannotTakeOut("this statement has a block of its own: say in the row what stands there instead")
    return (node.lineno, node.col_offset), _end(node), "pass"


def _end(node: ast.stmt | ast.ExceptHandler | ast.expr) -> Place:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def _replaced(lines: list[str], start: Place, end: Place, text: str) -> list[str]:
    """Columns are those of ast: bytes of UTF-8."""
    before = lines[start[0] - 1].encode()[: start[1]].decode()
    after = lines[end[0] - 1].encode()[end[1] :].decode()
    # A condition in brackets over several lines may leave its brackets, each on a line of its own: that parses.
    return [*lines[: start[0] - 1], before + text + after, *lines[end[0] :]]


# ---------------------------------------------------------------------------------------------------- Lua


def _out_of_lua(source: str, line: str) -> str:
    out = []
    at = 0
    while (found := source.find(line, at)) >= 0:
        end = _end_of_statement(source, found, found + len(line))
        out += [source[at:found], _lua_without(source[found:end])]
        at = end
    return "".join(out) + source[at:]


def _end_of_statement(source: str, start: int, end: int) -> int:
    """Where the statement ends that begins at `start`: brackets that are open at `end` close later."""
    while end < len(source) and _depth(source[start:end]) > 0:
        end += 1
    return end


def _depth(text: str) -> int:
    plain = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|--[^\n]*", "", text)
    return sum(plain.count(mark) for mark in "([{") - sum(plain.count(mark) for mark in ")]}")


def _lua_without(statement: str) -> str:
    if re.match(r"(?:if|elseif)\b.*?\bthen\b", statement, re.DOTALL):
        return re.sub(r"^(if|elseif)\b.*?\bthen\b", r"\1 false then", statement, count=1, flags=re.DOTALL)
    if re.match(r"while\b.*?\bdo\b", statement, re.DOTALL):
        return re.sub(r"^while\b.*?\bdo\b", "while false do", statement, count=1, flags=re.DOTALL)
    if names := re.match(r"for (\w+(?:\s*,\s*\w+)*) in .*? do\b", statement, re.DOTALL):
        return f"for {names[1]} in pairs({{}}) do{statement[names.end() :]}"
    if name := re.match(r"for (\w+)\s*=.*? do\b", statement, re.DOTALL):
        return f"for {name[1]} = 1, 0 do{statement[name.end() :]}"
    if names := re.match(r"local (\w+(?:\s*,\s*\w+)*)\s*=", statement):
        return f"local {names[1]} = nil"
    if re.match(r"(?:local )?function\b|repeat\b|else\b|end\b", statement):
        raise CannotTakeOut("this opens or closes a block: say in the row what stands there instead")
    if statement.startswith("return") or "(" in statement or "=" in statement:
        return ""
    raise CannotTakeOut("this is no whole statement: say in the row what stands there instead")

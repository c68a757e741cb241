"""Arguments by name: from the calling card of a script and the fields of an operation to the list that is sent.

For each slot of the card, in its order, the encoder is told where its value comes from:

* a path: `"lease.token"` is a path in the operation, `"keep.result_ms"` one in the Retention;
* a function of the operation and the Retention;
* nothing: then the value is the operation's field of the slot's name.

A slot that nothing fills, a source that fills no slot, and a path to a field that does not exist or is neither text nor
a number are a SlotError when this is compiled, which is when the modules of the operations are imported. The list is
built by generated code, as dataclasses build their methods, so that names cost nothing when a call is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kato_tasks.adapters.redis.calls import Decode, ScriptCall
from kato_tasks.adapters.redis.cards import Card, Rows, SlotError

Fill = Callable[[Any, Any], Any]
Encode = Callable[[Any, Any], ScriptCall]
"""Makes the call of an operation; the second argument is the Retention."""


@dataclass(frozen=True, slots=True)
class Each:
    """Where rows come from: the field that holds them (or a function), and what each value in one of them is called.

    ``paths`` fills slots from these values (`{"digest": "entry.digest"}`); a slot without one is the value of its name.
    """

    source: str | Fill
    names: tuple[str, ...]
    paths: Mapping[str, str]


def each(source: str | Fill, names: str, /, **paths: str) -> Each:
    """Return rows: `each("results", "event_id result")`."""
    return Each(source, tuple(names.split()), paths)


def compile_encoder(
    card: Card,
    operation: type,
    retention: type,
    key: str | Fill,
    decode: Decode,
    sources: Mapping[str, str | Fill | Each],
) -> Encode:
    """Return the function that makes a call of this operation. Raises SlotError as the module says."""
    return _Encoder(card, operation, retention, sources).compile(key, decode)


@cache
def _fields_of(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields; for anything else, an empty mapping."""
    return get_type_hints(kind) if is_dataclass(kind) else {}


class _Encoder:
    def __init__(self, card: Card, operation: type, retention: type, sources: Mapping[str, str | Fill | Each]) -> None:
        self._card = card
        self._operation = operation
        self._roots = {"op": operation, "keep": retention}
        self._sources = dict(sources)
        self._globals: dict[str, Any] = {"ScriptCall": ScriptCall}

    def compile(self, key: str | Fill, decode: Decode) -> Encode:
        arguments = [self._value(slot.name, self._sources.pop(slot.name, slot.name)) for slot in self._card.arguments]
        rows, extends = [], []
        for kind in self._card.rows:
            several = self._sources.pop(kind.name, None)
            if not isinstance(several, Each):
                raise SlotError(f"{self._card.script}.lua has rows of {kind.name}, which {self._name} does not fill")
            rows.append(f"    rows_of_{kind.name} = {self._source(kind.name, several.source)}\n")
            extends.append(self._extend(kind, several))
            if self._card.counted:
                arguments.append(f"len(rows_of_{kind.name})")
        if self._sources:
            surplus = ", ".join(f"`{name}`" for name in self._sources)
            raise SlotError(f"{self._name} fills {surplus}, which {self._card.script}.lua does not have")
        self._globals["decode"] = decode
        code = (
            "def encode(op, keep):\n"
            f"{''.join(rows)}"
            f"    args = [{', '.join(arguments)}]\n"
            f"{'    extend = args.extend' if extends else ''}"
            "\n"
            f"{''.join(extends)}"
            f"    return ScriptCall({self._card.script!r}, {self._value(self._card.key, key)}, args, op, decode)\n"
        )
        # Only names that were looked up in the card and among the operation's fields are in it.
        exec(compile(code, f"<encoder of {self._name}>", "exec"), self._globals)  # noqa: S102
        encode: Encode = self._globals["encode"]
        return encode

    @property
    def _name(self) -> str:
        return self._operation.__name__

    def _value(self, slot: str, source: str | Fill | Each) -> str:
        """Return the code of what fills a slot."""
        if isinstance(source, Each):
            raise SlotError(f"{self._name} fills `{slot}` with rows, but in {self._card.script}.lua it is one value")
        if isinstance(source, str):
            root, path = self._rooted(source)
            self._check_sent(slot, source, self._check_path(slot, self._roots[root], path))
        return self._source(slot, source)

    def _source(self, name: str, source: str | Fill) -> str:
        """Return the code of a source."""
        if isinstance(source, str):
            root, path = self._rooted(source)
            self._check_path(name, self._roots[root], path)
            return f"{root}.{path}"
        self._globals[f"{name}_of"] = source
        return f"{name}_of(op, keep)"

    @staticmethod
    def _rooted(source: str) -> tuple[str, str]:
        return ("keep", source[5:]) if source.startswith("keep.") else ("op", source)

    def _check_path(self, slot: str, root: Any, path: str) -> Any:
        """Return the type at the end of the path."""
        at = root
        for name in path.split("."):
            fields = _fields_of(at)
            if name not in fields:
                kind = getattr(at, "__name__", str(at))
                raise SlotError(
                    f"{self._card.script}.lua has the slot `{slot}`, which {self._name} does not fill: "
                    f"{kind} has no field `{name}`"
                )
            at = fields[name]
            # X | None: the path is followed as if it were there.
            at = next((one for one in get_args(at) if is_dataclass(one)), at)
        return at

    def _check_sent(self, slot: str, path: str, kind: Any) -> None:
        """Tell whether values of this type can be sent as they are, because Redis takes text and numbers."""
        if kind not in (str, int) and get_origin(kind) is not Literal:
            raise SlotError(
                f"{self._card.script}.lua has the slot `{slot}`, which {self._name} cannot fill with `{path}`: "
                "it is neither text nor a whole number"
            )

    def _extend(self, kind: Rows, several: Each) -> str:
        """Return the code that appends the rows of one kind."""
        values = []
        for slot in kind.slots:
            path = several.paths.get(slot.name, slot.name)
            if path.split(".")[0] not in several.names:
                raise SlotError(
                    f"{self._card.script}.lua has the slot `{slot.name}` for each of {kind.name}, "
                    f"which {self._name} does not fill"
                )
            values.append(path)
        unread = [name for name in several.names if not any(path.split(".")[0] == name for path in values)]
        unread += [name for name in several.paths if name not in {slot.name for slot in kind.slots}]
        if unread:
            raise SlotError(
                f"{self._name} fills `{unread[0]}` for each of {kind.name}, which {self._card.script}.lua does not have"
            )
        self._check_rows(kind, several)
        if len(several.names) == 1:
            return f"    extend(rows_of_{kind.name})\n"
        if tuple(values) == several.names:
            return f"    for row in rows_of_{kind.name}: extend(row)\n"
        return f"    for {', '.join(several.names)} in rows_of_{kind.name}: extend(({', '.join(values)}))\n"

    def _check_rows(self, kind: Rows, several: Each) -> None:
        """Check that a row of the operation has the values that are named, and these the fields that are sent."""
        if not isinstance(several.source, str) or len(several.names) == 1:
            return
        (row,) = get_args(_fields_of(self._operation)[several.source])[:1]
        types = get_args(row)
        if len(types) != len(several.names):
            raise SlotError(
                f"{self._name}.{several.source} has {len(types)} values in a row, but {len(several.names)} names "
                f"for each of {kind.name} of {self._card.script}.lua"
            )
        named = dict(zip(several.names, types, strict=True))
        for slot in kind.slots:
            path = several.paths.get(slot.name, slot.name)
            name, _, rest = path.partition(".")
            self._check_sent(slot.name, path, self._check_path(slot.name, named[name], rest) if rest else named[name])

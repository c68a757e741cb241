"""KATO's observation, with everything refused that would poison KATO.

The reasons were measured on KATO 3.10.1:

- An emotive that is not finite makes every later learn answer 500.
- Vectors of mixed size answer 500, and those of one number are added to every number of the others.
- Half of a surrogate pair makes later reads answer 500.
- A string of 1 MB freezes KATO for 40 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.known_names import UnknownKeys, place, shown

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an observation may be, and what becomes of unknown keys. Each field is a setting of that name."""

    max_strings: int = 1_000
    max_string_chars: int = 20_000
    max_vectors: int = 64
    max_vector_length: int = 8_192
    max_emotives: int = 256
    max_event_bytes: int = 262_144
    unknown_keys: UnknownKeys = "refuse"


class Misplaced(ValueError):
    """Something is wrong below the field that is being checked; ``path`` has the keys and indexes that lead to it."""

    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        super().__init__(f"{place(path)}: {reason}")
        self.path = path
        self.reason = reason


DEFAULT_LIMITS = Limits()


def _limits(info: ValidationInfo) -> Limits:
    return info.context if isinstance(info.context, Limits) else DEFAULT_LIMITS


def _check_text(value: str, path: tuple[str | int, ...], max_chars: int) -> None:
    if len(value) > max_chars:
        raise Misplaced(path, f"has {len(value)} characters, at most {max_chars} are allowed")
    if not value.isascii() and _SURROGATE.search(value):
        raise Misplaced(path, "holds half of a surrogate pair, which is no valid Unicode text")


def check_json_value(value: Any, path: tuple[str | int, ...] = (), depth: int = 0) -> None:
    """Raise Misplaced unless ``value`` is plain, finite, valid-Unicode JSON."""
    if isinstance(value, str):
        _check_text(value, path, 100_000)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Misplaced(path, f"is {value}; only finite numbers are allowed")
    elif isinstance(value, Mapping):
        if depth > 20:
            raise Misplaced(path[:1], "is nested more than 20 deep")
        for key, item in value.items():
            if not isinstance(key, str):
                raise Misplaced(path, f"has a key that is no text: {shown(key)}")
            _check_text(key, (*path, key), 1_000)
            check_json_value(item, (*path, key), depth + 1)
    elif isinstance(value, list | tuple):
        if depth > 20:
            raise Misplaced(path[:1], "is nested more than 20 deep")
        for index, item in enumerate(value):
            check_json_value(item, (*path, index), depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise Misplaced(path, "is a whole number of more than 64 bits; send it as text")
    elif not (value is None or isinstance(value, bool)):
        raise Misplaced(path, f"is of the type {type(value).__name__}, which JSON cannot carry; send it as text")


class Observation(BaseModel):
    """One observation: ``strings`` and ``vectors`` are what is seen, ``emotives`` maps names to finite values."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    strings: list[str] = Field(default_factory=list, json_schema_extra={"default": []})
    vectors: list[list[Annotated[float, Field(allow_inf_nan=False)]]] = Field(
        default_factory=list, json_schema_extra={"default": []}
    )
    emotives: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict, json_schema_extra={"default": {}}
    )
    metadata: dict[str, Any] = Field(default_factory=dict, json_schema_extra={"default": {}})

    @field_validator("strings")
    @classmethod
    def _strings_fit(cls, strings: list[str], info: ValidationInfo) -> list[str]:
        limits = _limits(info)
        if len(strings) > limits.max_strings:
            raise ValueError(f"has {len(strings)} strings, at most {limits.max_strings} are allowed")
        for index, text in enumerate(strings):
            _check_text(text, (index,), limits.max_string_chars)
        return strings

    @field_validator("vectors")
    @classmethod
    def _vectors_are_even(cls, vectors: list[list[float]], info: ValidationInfo) -> list[list[float]]:
        if not vectors:
            return vectors
        limits = _limits(info)
        if len(vectors) > limits.max_vectors:
            raise ValueError(f"has {len(vectors)} vectors, at most {limits.max_vectors} are allowed")
        size = len(vectors[0])
        if size == 0:
            raise Misplaced((0,), "is empty; leave it out")
        if size > limits.max_vector_length:
            raise Misplaced((0,), f"has {size} numbers, at most {limits.max_vector_length} are allowed")
        for index, vector in enumerate(vectors):
            if len(vector) != size:
                raise Misplaced(
                    (index,),
                    f"has {len(vector)} numbers, and the first vector has {size}; "
                    "all vectors of an observation must be of one length",
                )
        return vectors

    @field_validator("emotives")
    @classmethod
    def _emotives_fit(cls, emotives: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if len(emotives) > _limits(info).max_emotives:
            raise ValueError(f"has {len(emotives)} names, at most {_limits(info).max_emotives} are allowed")
        for name in emotives:
            _check_text(name, (name,), 200)
        return emotives

    @field_validator("metadata")
    @classmethod
    def _metadata_is_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        check_json_value(metadata)
        return metadata

    @model_validator(mode="after")
    def _something_is_observed(self) -> Observation:
        if not (self.strings or self.vectors or self.emotives):
            raise ValueError("nothing to observe: give at least one string, vector or emotive")
        return self

    def kato_json(self) -> str:
        """Return the observation as KATO takes it, without an id. Two observations are the same if this is."""
        return dumps(
            {
                "strings": self.strings,
                "vectors": self.vectors,
                "emotives": self.emotives,
                "metadata": self.metadata,
            }
        )


def with_unique_id(kato_json: str, event_id: str) -> str:
    """Return an item of KATO's observe-sequence: the observation with the event_id as its ``unique_id``."""
    return f'{kato_json[:-1]},"unique_id":{dumps(event_id)}}}'

"""A reader in a process of its own, for tests that kill it: what it has read and not acknowledged is to come again."""

from __future__ import annotations

import base64
import contextlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.ports.sources import Message, MessageSource


@dataclass(frozen=True)
class Recipe:
    """How to make a source, in this process or in another."""

    kind: type[Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        return self.kind(*self.arguments, **self.options)


@contextlib.contextmanager
def reading(recipe: Recipe, count: int, acknowledge: int) -> Iterator[subprocess.Popen[str]]:
    """Have a process read ``count`` messages and acknowledge the first of them; it lives on until it is killed."""
    made = base64.b64encode(pickle.dumps((recipe, count, acknowledge))).decode()
    command = [sys.executable, "-m", "tests.contract.sources.reading", made]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "acknowledged\n"
            yield process
        finally:
            process.kill()


def main(made: str) -> None:
    recipe, count, acknowledge = pickle.loads(base64.b64decode(made))  # noqa: S301  the test that started us made it
    source: MessageSource = recipe.make()
    source.open()
    messages: list[Message] = []
    while len(messages) < count:
        messages += source.read(1000, 0.2)
    source.acknowledge(messages[:acknowledge])
    print("acknowledged", flush=True)
    while True:
        source.idle(1.0)


if __name__ == "__main__":
    main(sys.argv[1])

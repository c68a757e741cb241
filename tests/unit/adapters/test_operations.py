"""What a newcomer would forget about a store operation: the table that carries it out, and the list of scripts."""

from __future__ import annotations

from pathlib import Path

from kato_tasks import ports
from kato_tasks.adapters.redis import operations
from kato_tasks.adapters.redis.scripts import NAMES

NOT_OF_THE_STORE = {ports.KatoRequest, ports.Together}


def test_every_operation_of_the_ports_is_carried_out() -> None:
    named = {getattr(ports, name) for name in ports.__all__}
    effects = {one for one in named if isinstance(one, type) and issubclass(one, ports.Effect)} - {ports.Effect}
    assert effects - NOT_OF_THE_STORE == set(operations.ENCODERS)


def test_every_operation_has_a_name_in_the_ports() -> None:
    made = {one.__name__ for one in ports.Effect.__subclasses__() if one.__module__.startswith(ports.__name__)}
    assert made <= set(ports.__all__)


def test_every_lua_file_is_a_script_that_is_named() -> None:
    folder = Path(str(operations.__file__)).parents[1] / "lua"
    assert {path.stem for path in folder.glob("*.lua")} - {"_lib"} == set(NAMES)

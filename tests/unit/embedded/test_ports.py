"""Which ports the embedded stack takes."""

import socket
from pathlib import Path

import pytest

from kato_tasks.embedded.stack.ports import BELOW_THE_KERNELS, LOOPBACK, Ports, PortTaken


def test_a_directory_keeps_its_ports_and_an_option_changes_one_of_them(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = Ports({}, file)
    chosen = first.choose()
    assert list(chosen) == ["redis", "kato", "flower", "http"]
    # The kernel gives none of these to an outgoing connection, which would make it taken the next time.
    assert set(chosen.values()) <= set(BELOW_THE_KERNELS)
    first.remember(chosen)
    assert Ports({}, file).choose() == chosen
    other = Ports({}, None).choose()["kato"]
    changed = Ports({"kato": other}, file)
    assert changed.choose() == {**chosen, "kato": other}


def test_a_port_that_is_taken_is_named_with_the_option_that_changes_it(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "ports.json"
        file.write_text(f'{{"kato": {port}, "redis": "x"}}')
        assert Ports({}, file).saved == {}, "a file that nobody of ours wrote is not believed"
        file.write_text(f'{{"kato": {port}}}')
        for ports in (Ports({}, file), Ports({"kato": port}, None)):
            with pytest.raises(PortTaken) as refused:
                ports.choose()
            assert str(refused.value).startswith(
                f"port {port} of kato is in use by another program; stop that one, or "
            )
            assert str(refused.value).endswith("choose another port with --kato-port")


def test_two_parts_are_not_given_one_port() -> None:
    with pytest.raises(PortTaken, match=r"^--redis-port and --flower-port are both 7001; give each one of its own$"):
        Ports({"redis": 7001, "flower": 7001}, None).choose()

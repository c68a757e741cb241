"""Every example of the README, of docs/ and of examples/ runs, and prints what it is said to print."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks.testing.services import KatoServer, RedisServer
from tests.acceptance.documents import CHECKOUT, PAGES, Block, Command, blocks, commands, same
from tests.integration.http.server import HttpServer
from tests.integration.system import System
from tests.services import unreachable

PROGRAMS = [block for page in PAGES for block in blocks(page, "python")]
CONSOLE = [command for page in PAGES for block in blocks(page, "console") for command in commands(block)]
EXAMPLES = sorted((CHECKOUT / "examples").glob("*.py"))
SECONDS = 60


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """What `kato-tasks up` starts, as far as an application sees it."""
    # Each text is its own application, and all of them meet the same empty stack.
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("readme"))
    system.empty()
    server = HttpServer(system.directory / "http", system.environment)
    with system.workers(["--concurrency", "2"]), contextlib.ExitStack() as exits:
        exits.callback(server.stop)
        server.start()
        system.http_port = server.port
        yield system


@pytest.fixture(scope="module")
def shell(stack: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a reader's shell: the stack's settings, `kato-tasks` and `celery` on the PATH."""
    programs = tmp_path_factory.mktemp("bin")
    for name, module in {"kato-tasks": "kato_tasks.cli", "celery": "celery", "python": ""}.items():
        program = programs / name
        start = f"-m {module} " if module else ""
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start}"$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
    return (
        inherited
        | stack.environment
        | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "KATO_TASKS_STREAMS_URL": stack.environment["KATO_TASKS_STORE_URL"],
            "PYTHONWARNINGS": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "120",
        }
    )


def run(program: list[str] | str, shell: dict[str, str], here: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program,
        check=False,
        shell=isinstance(program, str),
        env=shell,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_the_readme_tells_how_to_install_it_and_what_a_node_is_before_its_first_program() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    first = next(part for part in text.split("\n\n") if not part.startswith(("#", "<")))
    assert re.fullmatch(r"[^.!?]+\.", first.replace("\n", " ").strip()), f"not one sentence: {first}"
    before, _, _ = text.partition("```python\n")
    told = [before.find(words) for words in ("python3 -m venv", "pip install", "what a node is", "for life")]
    assert -1 not in told
    assert told == sorted(told)
    opening = PROGRAMS[0]
    assert opening.prints, "the README's first program has no output below it"
    assert len([line for line in opening.text.splitlines() if line.strip()]) <= 12


def test_the_readmes_requests_go_where_the_stack_that_it_starts_listens() -> None:
    """Falls when `kato-tasks up` is told no port: it takes any free one then."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"^\$ curl .*?http://127\.0\.0\.1:(\d+)/", text, re.MULTILINE))
    started = set(re.findall(r"^kato-tasks up --http-port (\d+) ", text, re.MULTILINE))
    assert asked == started == {"8080"}


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_of_the_docs_prints_what_stands_below_it(
    block: Block, shell: dict[str, str], stack: System, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text, encoding="utf-8")
    done = run([sys.executable, str(program)], shell, tmp_path)
    assert done.returncode == 0, done.stderr
    if block.prints is not None:
        assert same(block.prints, done.stdout), f"{block} says\n{block.prints}\nand it printed\n{done.stdout}"


@pytest.mark.parametrize("command", CONSOLE, ids=str)
def test_a_command_of_the_docs_prints_what_stands_below_it(
    command: Command, shell: dict[str, str], stack: System
) -> None:
    if command.words.startswith("curl") and shutil.which("curl") is None:
        unreachable("curl", "the docs ask the HTTP server with it")
    # The reader's server listens on 8080, which another program of this machine may have.
    words = command.words.replace("127.0.0.1:8080", f"127.0.0.1:{stack.http_port}")
    done = run(words, shell, CHECKOUT)
    assert done.returncode == command.exit_code, f"{command.words}: {done.stderr}"
    # Data and talk as a reader sees them: one after the other.
    printed = done.stdout + done.stderr
    assert same(command.prints, printed), f"{command} is said to print\n{command.prints}\nand printed\n{printed}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_prints_what_its_docstring_says(path: Path, shell: dict[str, str], tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    said = docstring.partition("Prints, on a fresh stack:\n")[2]
    assert said, f"{path.name} does not say what it prints"
    done = run([sys.executable, str(path)], shell, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = "\n".join(line.removeprefix("    ") for line in said.splitlines())
    assert same(lines, done.stdout), f"{path.name} says\n{lines}\nand it printed\n{done.stdout}"

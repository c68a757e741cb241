"""The group itself: version, suggestions, order, exit codes, completion, help without click's own marks."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import click
import pytest

from kato_tasks import __version__
from kato_tasks.cli import kato
from tests.integration.cli.running import Cli


def module(cli: Cli, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kato_tasks", *words],
        env=cli.environment() | environment,
        cwd=cli.directory,
        capture_output=True,
        text=True,
        check=False,
    )


def all_commands(
    command: click.Command = kato, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, help_option_names=["-h", "--help"])
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from all_commands(found, (*words, name))


def test_the_version_is_told_by_the_package_run_as_a_module(cli: Cli) -> None:
    for option in ("--version", "-V"):
        ran = module(cli, option)
        assert (ran.returncode, ran.stdout) == (0, f"kato-tasks {__version__}\n")
    assert __version__ == version("kato-tasks")


def test_the_version_comes_at_once(cli: Cli) -> None:
    """It is told without a module of what the commands need. Counted in the CPU's time: others work here too."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert module(cli, "--version").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.3, times


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stat",), "kato-tasks has no command 'stat'; did you mean status?"),
        (("session",), "kato-tasks has no command 'session'; did you mean sessions?"),
        (("dead-letter", "list"), "kato-tasks has no command 'dead-letter'; did you mean dead-letters?"),
        (("sessions", "lst"), "kato-tasks sessions has no command 'lst'; did you mean list?"),
        (("dead-letters", "redriv"), "kato-tasks dead-letters has no command 'redriv'; did you mean redrive?"),
        (("xyzzy",), "kato-tasks has no command 'xyzzy'; there are up, demo, serve, listen, import, "),
        (("sessions", "list", "--nodes"), "Did you mean '--node'?"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(cli: Cli, words: tuple[str, ...], said: str) -> None:
    cli.inside = True
    ran = cli(*words)
    assert ran.code == 2
    assert said in ran.err


def test_help_is_in_an_order_that_says_what_each_is_for_and_names_the_exit_codes(cli: Cli) -> None:
    cli.inside = True
    out = cli("--help").out
    order = re.findall(r"^  ([a-z-]+)  ", out[out.index("Run everything") :], re.MULTILINE)
    looking = ["status", "wait", "config", "health"]
    mending = ["sessions", "dead-letters", "replay", "acknowledge"]
    assert order == ["up", "demo", "serve", "listen", "import", *looking, *mending, "db", "keys"]
    told = " ".join(out.split())
    assert "The exit code is 0 if all is well; 1 if the input is bad, something is not healthy" in told
    assert "2 if the options are wrong" in told
    assert "..." not in out[out.index("Run everything") :], "no description is cut"
    assert cli("-h").out == out
    sub = cli("sessions", "-h").out
    assert re.findall(r"^  ([a-z]+)  ", sub[sub.index("Commands:") :], re.MULTILINE) == [
        "list",
        "show",
        "scheduled",
        "events",
        "park",
        "resume",
        "forget",
    ]


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_every_help_is_whole(cli: Cli, words: tuple[str, ...]) -> None:
    cli.inside = True
    for option in ("--help", "-h"):
        out = cli(*words, option).out
        assert "Usage: " in out
        assert "\\b" not in out
        assert "\b" not in out


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        (" ".join(words), option.name)
        for words, command in all_commands()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_gives_a_script_for_each_shell(cli: Cli, shell: str) -> None:
    ran = module(cli, _KATO_TASKS_COMPLETE=f"{shell}_source")
    assert ran.returncode == 0
    assert "_KATO_TASKS_COMPLETE" in ran.stdout
    assert "kato-tasks" in ran.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kato-tasks st", ["status"]),
        ("kato-tasks sessions s", ["show", "scheduled"]),
        ("kato-tasks sessions list --s", ["--state", "--sort"]),
        ("kato-tasks sessions list --sort b", ["backlog"]),
    ],
)
def test_completion_knows_commands_options_and_choices(cli: Cli, words: str, found: list[str]) -> None:
    last = str(len(words.split()) - 1)
    ran = module(cli, _KATO_TASKS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=last)
    assert [line.split(",")[1] for line in ran.stdout.splitlines()] == found


def test_the_script_of_bash_is_one_that_bash_can_read(cli: Cli) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = module(cli, _KATO_TASKS_COMPLETE="bash_source").stdout
    ran = subprocess.run(
        [bash, "-c", f"{script}\ncomplete -p kato-tasks"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=True,
    )
    assert ran.stdout.endswith("kato-tasks\n")


def test_a_pipe_that_is_closed_early_is_no_traceback(cli: Cli) -> None:
    words = f"{sys.executable} -m kato_tasks config | head -1"
    ran = subprocess.run(
        ["sh", "-c", words], env=cli.environment(), cwd=cli.directory, capture_output=True, text=True, check=False
    )
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""

"""The documentation speaks of the code as it is: names, settings, keys, guards, figures, links."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import click
import pytest

from docs import drawings, figures, generate, reference
from kato_tasks.celery_tasks.app.configuration import beat_schedule, configuration, transport_options
from kato_tasks.cli import kato
from kato_tasks.settings import Settings
from tests.acceptance.documents import CHECKOUT, PAGES, anchors, blocks, links
from tests.contract.kato.differences import DIFFERENCES
from tests.mutants.rows import Guard, guards

README = CHECKOUT / "README.md"
DOCS = CHECKOUT / "docs"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_readme_has_fewer_than_250_lines() -> None:
    assert len(text_of(README).splitlines()) < 250


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    assert text_of(DOCS / "settings.md") == reference.settings_page(), "run: python docs/generate.py"


def test_the_page_of_commands_has_each_with_its_options_as_their_help_tells() -> None:
    page = text_of(DOCS / "cli.md")
    assert page == reference.commands_page(page), "run: python docs/generate.py"
    for words in ("sessions list", "sessions scheduled", "dead-letters redrive", "import", "wait", "up"):
        assert f"### kato-tasks {words}\n" in page


@pytest.mark.parametrize("name", [name for name in generate.PAGES if name.startswith("docs/schema/")])
def test_the_schemas_are_those_of_the_models(name: str) -> None:
    assert text_of(CHECKOUT / name) == generate.PAGES[name](""), "run: python docs/generate.py"


def test_every_setting_has_a_meaning() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_drawings_of_the_architecture_are_those_of_the_contracts_and_the_code() -> None:
    page = text_of(DOCS / "architecture.md")
    assert page == drawings.architecture_page(page), "run: python docs/generate.py"


@pytest.mark.parametrize(
    ("place", "writer"),
    [
        ("bench", "bench_figures"),
        ("real", "real_figures"),
        ("chaos", "chaos_figures"),
        ("helpdesk", "helpdesk_figures"),
    ],
)
def test_the_figures_of_the_readme_are_those_of_their_source(place: str, writer: str) -> None:
    shown = re.search(rf"<!-- figures:{place} -->\n(.*?)\n?<!-- /figures -->", text_of(README), re.DOTALL)
    assert shown, f"the README has no place for the figures of {place}"
    source = re.search(r"\]\((benchmarks/results/[\w.-]+\.json)\)", shown[1])
    if not shown[1]:
        measured = list((CHECKOUT / "benchmarks" / "results").glob(f"{place}*.json"))
        assert measured == [], "there are figures, and the README has none; run: python docs/generate.py"
        return
    assert source, "the figures name no source; run: python docs/generate.py"
    assert shown[1] == getattr(figures, writer)(CHECKOUT / source[1]), "run: python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} points to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} points to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`((?:\w+/)+[\w./-]*\.(?:py|lua|json|yml|md))`", text_of(page)):
        here = [CHECKOUT / path, CHECKOUT / "kato_tasks" / path]
        assert any(one.exists() for one in here), f"{page.name} names {path}"


@pytest.mark.parametrize(
    # That page names constants of the code, which test_doors.py looks up.
    "page",
    [page for page in PAGES if page.name != "where-do-i-change.md"],
    ids=lambda page: page.name,
)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"KATO_TASKS_([A-Z][A-Z_]*[A-Z])\b", text_of(page)))
    named |= set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", text_of(page)))
    of_others = {"KATO_LIMIT_CONCURRENCY", "REMAP_SIGTERM", "RANK_SORT_ALGO", "INDEXER_TYPE", "SORT_SYMBOLS"}
    of_others |= {"KATO_WORKERS", "FLOWER_TASKS_COLUMNS"}
    of_others |= {"COMPLETE", "NO_COLOR"}  # the command line's
    of_others |= set(re.findall(r"\$\{([A-Z_]+)", (CHECKOUT / "docker-compose.yml").read_text()))
    plain = {name.removeprefix("KATO_TASKS_") for name in named - of_others}
    unknown = {name for name in plain if name.lower() not in Settings.model_fields}
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_number_before_a_setting_is_its_default(page: Path) -> None:
    """Written as: 2 s (`SLICE_SECONDS`)."""
    for number, name in re.findall(r"\b([\d,.]+)(?:\s+[a-z]+)?\s+\(`([A-Z_]+)`\)", text_of(page)):
        default = Settings.model_fields[name.lower()].get_default()
        assert float(number.replace(",", "")) == default, f"{page.name} says {number} ({name})"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    context = click.Context(kato, help_option_names=["-h", "--help"])
    for words in re.findall(r"kato-tasks ((?:[a-z][a-z-]* ?)+)", text_of(page)):
        name, *rest = words.split()
        command = kato.get_command(context, name)
        if command is None:
            # "kato-tasks" in a sentence about the project.
            assert name not in kato.list_commands(context)
            assert f"`kato-tasks {name}" not in text_of(page), f"{page.name} names kato-tasks {name}"
            continue
        if rest and isinstance(command, click.Group) and f"kato-tasks {name} {rest[0]}" in code_of(page):
            assert rest[0] in command.commands, f"{page.name} names kato-tasks {name} {rest[0]}"


def code_of(page: Path) -> str:
    shown = [block.text for language in ("sh", "console") for block in blocks(page, language)]
    return "\n".join([*shown, *re.findall(r"`([^`\n]+)`", text_of(page))])


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of(CHECKOUT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text_of(page), re.MULTILINE):
            assert (words[0] or words[1]) in targets, f"{page.name} names make {words}"


def test_every_key_of_the_store_is_in_the_table_and_no_other() -> None:
    prelude = text_of(CHECKOUT / "kato_tasks/adapters/redis/lua/_lib.lua")
    kinds = "hash|zset|list|set|string"
    keys = dict(re.findall(rf"^--   (\S+(?:<\w+>\S*)?)\s+({kinds})\b", prelude, re.MULTILINE))
    table = dict(re.findall(rf"^\| `([^`]+)` \| ({kinds}) \|", text_of(DOCS / "architecture.md"), re.MULTILINE))
    assert table == keys
    assert len(keys) > 20


def celery_rows() -> dict[str, str]:
    """Setting → value, from the table; a row may name several settings."""
    page = text_of(DOCS / "celery.md")
    table = page[page.index("## Settings and their reasons") : page.index("Transport options:")]
    rows = {}
    for names, value in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            rows[name] = value
    return rows


def test_the_table_of_celery_settings_has_what_is_set_and_nothing_else() -> None:
    assert set(celery_rows()) == set(configuration(Settings()))


def test_the_table_of_celery_settings_has_their_values() -> None:
    configured = configuration(Settings())
    for name, shown in celery_rows().items():
        value: Any = configured[name]
        if isinstance(value, bool):
            assert re.match("on|off", shown), f"{name}: {shown}"
            assert shown.startswith("on" if value else "off"), f"{name} is {value}"
        elif isinstance(value, int) and "`" not in shown:
            assert str(value) in shown, f"{name} is {value}"
    for job in beat_schedule().values():
        assert f"{job['schedule']:g} s" in celery_rows()["beat_schedule"]


def test_the_table_of_transport_options_has_what_is_set() -> None:
    page = text_of(DOCS / "celery.md")
    for broker in ("redis://127.0.0.1/0", "amqp://127.0.0.1"):
        for name in transport_options(Settings(broker_url=broker)):
            assert f"`{name}`" in page


def test_every_invariant_has_guards() -> None:
    page = text_of(DOCS / "invariants.md")
    assert re.findall(r"^## (\d)\.", page, re.MULTILINE) == list("1234567")
    assert len(guards()) >= 7


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.line[:40])
def test_a_guard_is_in_its_file_and_its_tests_exist(guard: Guard) -> None:
    source = text_of(CHECKOUT / "kato_tasks" / guard.path)
    assert guard.line in source, f"kato_tasks/{guard.path} has no line {guard.line}"
    for test in guard.tests:
        file, *names = test.split("::")
        for name in names:
            assert re.search(rf"(?:def|class) {name}\b", text_of(CHECKOUT / file)), f"{file} has no {name}"


def test_the_public_names_are_documented() -> None:
    import kato_tasks

    pages = "\n".join(text_of(page) for page in PAGES)
    for name in kato_tasks.__all__:
        assert name in pages, f"{name} is nowhere in the documentation"
    from kato_tasks.celery_tasks import tasks

    page = text_of(DOCS / "celery.md")
    for name in tasks.PUBLIC:
        task = getattr(tasks, name)
        shown = task.name.split(".")[1]  # two names may stand for one task
        row = re.search(rf"^\| `{shown}\((.*?)\)`", page, re.MULTILINE)
        assert row, f"docs/celery.md has no row for {shown}"
        given = list(inspect.signature(task.run).parameters)
        assert [word.strip() for word in row[1].split(",") if word.strip() != "*"] == given


def test_the_page_of_katos_own_api_tells_each_way_in_which_it_differs() -> None:
    told = " ".join(text_of(DOCS / "http.md").split())
    assert [why for why in DIFFERENCES if why not in told] == []

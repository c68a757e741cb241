"""What ``pip install kato-tasks`` alone installs, made from this environment, whose other packages are not there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_paths()["purelib"])


class PlainInstallation:
    """A directory of links to the distributions that the named extras bring (none of them: the plain package)."""

    def __init__(self, home: Path, extras: Iterable[str] = ()) -> None:
        self.site = home / "site"
        self.site.mkdir(parents=True)
        for package in ("kato_tasks", "workers", "beat"):
            (self.site / package).symlink_to(CHECKOUT / package)
        self.names: set[str] = set()
        self._bring("kato-tasks", frozenset(extras))

    def run(self, *arguments: str, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run this interpreter with that directory in the place of its installed packages."""
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            env=self._environment(settings),
            cwd=self.site.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, *arguments: str, settings: Mapping[str, str]) -> Iterator[None]:
        """Run the same until the end of the block; what it prints goes to the file ``output`` beside the links."""
        with (self.site.parent / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-S", *arguments],
                env=self._environment(settings),
                cwd=self.site.parent,
                stdout=output,
                stderr=output,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def _environment(self, settings: Mapping[str, str] | None) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.site), "C_FORCE_ROOT": "1", **(settings or {})}

    def _bring(self, name: str, extras: frozenset[str]) -> None:
        found = distribution(name)
        for text in found.requires or ():
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in extras or {""}]
            if needed.marker is not None and not any(needed.marker.evaluate(one) for one in environments):
                continue
            key = re.sub(r"[-_.]+", "-", needed.name).lower()
            if key == "kato-tasks":
                self._bring(name, frozenset(needed.extras))
            elif key not in self.names or needed.extras:
                self.names.add(key)
                self._bring(needed.name, frozenset(needed.extras))
        self._link(found)

    def _link(self, found: Distribution) -> None:
        for top in {Path(str(file)).parts[0] for file in found.files or ()}:
            if top not in ("..", "__pycache__") and not top.endswith(".pth") and not (self.site / top).exists():
                (self.site / top).symlink_to(SITE / top)

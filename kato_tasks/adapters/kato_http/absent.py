"""The client of KATO where the packages that it needs are not installed: each use of it says so."""

from __future__ import annotations

from typing import NoReturn

from kato_tasks.errors import ConfigurationError
from kato_tasks.ports.kato import KatoRequest


class AbsentKato:
    """An application that only calls tasks never asks KATO, so it opens its store without a client that could."""

    def __init__(self, why: str) -> None:
        self._why = why

    def calls(self, *, wakeable: bool = False) -> NoReturn:  # noqa: ARG002  # the signature is the port's
        """Raises ConfigurationError, which names what is missing and the command that installs it."""
        raise ConfigurationError(self._why)

    def send(self, request: KatoRequest) -> NoReturn:  # noqa: ARG002  # the signature is the port's
        """Raises ConfigurationError, which names what is missing and the command that installs it."""
        raise ConfigurationError(self._why)

    def close(self) -> None:
        """There is nothing to close."""


__all__ = ["AbsentKato"]

"""Ask the services themselves: each KATO instance, the broker, and the store, whether it keeps what it holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kato_tasks.bootstrap import Runtime, require_client, waker
from kato_tasks.engine.drain.kato_answers import describe_remedy, find_meaning
from kato_tasks.engine.running.breaker_transport import PROBE_PATH, answers_probe
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.kato import KatoReply, KatoRequest, KatoTransport

PROBE_SECONDS = 2.0


class ServiceCheck(BaseModel):
    """A service that was asked. ``error`` is None if it answered as it should.

    ``state`` is ``ok``; ``away`` if the service does not answer; ``other`` if something that is not KATO answers in its
    place; or ``ill`` if the service answers that it fails.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    state: Literal["ok", "away", "other", "ill"] = "ok"
    error: str | None = None
    session_config: str | None = None
    """why a KATO instance does not take the session config; empty if it does, None if it has not been asked yet"""

    @property
    def sentence(self) -> str | None:
        """Return what is wrong with a KATO instance and what to do about it, or None if nothing is wrong."""
        if self.state == "away":
            return f"KATO at {self.url} does not answer: {self.error}; start it, or mend KATO_TASKS_KATO_URLS"
        if self.state == "other":
            return f"what answers there is not KATO: {self.error}"
        return f"KATO at {self.url} fails: {self.error}" if self.error else None


@dataclass(frozen=True, slots=True)
class Services:
    """What the services answered.

    ``volatile`` says what the store would lose if its process ended. It is None if the store would lose nothing, or
    if it cannot be asked.
    """

    kato: list[ServiceCheck]
    broker: ServiceCheck
    volatile: str | None


def ask_services(rt: Runtime) -> Services:
    """Ask all services at the same time, and return their answers. KATO and the broker may be unreachable.

    Raises StoreUnavailable, and ConfigurationError if the packages of the KATO client are not installed.
    """
    require_client(rt.settings)
    with ThreadPoolExecutor(max_workers=8) as pool:
        instances = [pool.submit(ask_kato, rt.kato, url) for url in rt.settings.kato_instances]
        broker = pool.submit(_ask_broker)
        volatile = rt.figures.persistence_problem()
        return Services([_with_config_verdict(rt, one.result()) for one in instances], broker.result(), volatile)


def ask_kato(kato: KatoTransport, url: str) -> ServiceCheck:
    """Ask ``url`` whether it has a KATO session of a made-up name, which only KATO can answer. This changes nothing."""
    request = KatoRequest(url, "GET", PROBE_PATH, "exists", timeout_seconds=PROBE_SECONDS)
    try:
        reply = kato.send(request)
    except KatoTasksError as exc:
        return ServiceCheck(url=url, state="away", error=str(exc).rstrip("."))
    if answers_probe(reply):
        return ServiceCheck(url=url)
    if is_katos_trouble(reply):
        return ServiceCheck(
            url=url,
            state="ill",
            error=f"it answers {reply.status}; look into the log of KATO, or of what stands before it",
        )
    return ServiceCheck(url=url, state="other", error=describe_remedy(url, reply))


def is_katos_trouble(reply: KatoReply) -> bool:
    """Return whether KATO, or a gateway that cannot reach it, reports trouble that no change of settings would mend."""
    return find_meaning(reply) in ("unknown", "busy", "gateway") and reply.status >= 429


def _with_config_verdict(rt: Runtime, reached: ServiceCheck) -> ServiceCheck:
    return reached.model_copy(update={"session_config": rt.check.read_refusal(reached.url)})


def _ask_broker() -> ServiceCheck:
    url, error = waker().try_broker(PROBE_SECONDS)
    return ServiceCheck(url=url, state="away", error=error) if error else ServiceCheck(url=url)


__all__ = ["ServiceCheck", "Services", "ask_kato", "ask_services"]

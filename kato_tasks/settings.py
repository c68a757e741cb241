"""One frozen configuration, checked at birth: environment or ``.env``, prefix ``KATO_TASKS_``."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kato_tasks.domain.observations import Limits
from kato_tasks.errors import ConfigurationError


class Settings(BaseSettings):
    """Every setting, with its unit in its name. ``kato-tasks config`` prints the effective ones."""

    model_config = SettingsConfigDict(
        env_prefix="KATO_TASKS_", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Celery's broker: redis:// or amqp://")
    result_backend: str = Field("redis://127.0.0.1:6379/1", description="Celery's result backend")
    store_url: str = Field("redis://127.0.0.1:6379/2", description="the event log, lanes and leases: a Redis")
    archive_url: str = Field("", description="SQLAlchemy URL of the archive; empty: none, Redis keeps everything")
    kato_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://127.0.0.1:8000",), description="KATO instances, comma-separated, all on one set of stores"
    )
    shards: int = Field(16, ge=1, le=256, description="Celery queues that the partitions are spread over")
    log_format: Literal["console", "json"] = "console"

    kato_timeout_seconds: float = Field(30.0, gt=0, description="how long an answer of KATO may take")
    kato_connections: int = Field(16, ge=1, le=256, description="connections to each KATO instance, per process")
    kato_session_ttl_seconds: int = Field(3600, ge=60, le=30 * 86_400, description="KATO's time to live of a session")
    keep_alive_hours: float = Field(
        24.0, ge=0, description="an unlearned session's KATO session is kept alive for so long after its last event"
    )
    kato_session_config: dict[str, Any] = Field(
        default_factory=dict, description="more keys of KATO's session config, as JSON"
    )
    kato_settle_seconds: float = Field(
        1.0, ge=0.2, description="how long after a DELETE a learn may still land (several server processes: add theirs)"
    )

    verify_last: bool = Field(
        False, description="read KATO back after a session's last event too: one more request per idle session"
    )

    lease_seconds: float = Field(4.0, ge=0.5, le=60, description="how long a silent worker keeps a lane")
    renew_seconds: float = Field(1.0, gt=0, description="how often a lease is renewed during a call")
    slice_seconds: float = Field(1.0, gt=0, le=60, description="how long a drain goes on before it hands back")
    batch_events: int = Field(400, ge=1, le=1_000, description="observations in one call to KATO at most")
    batch_bytes: int = Field(1_000_000, ge=1_000, description="bytes in one call to KATO at most")
    lanes_per_wakeup: int = Field(64, ge=1, le=1_000, description="lanes that one wake-up drains side by side")
    sweep_seconds: float = Field(1.0, gt=0, description="how often the workers look for lost wake-ups")

    max_retries: int = Field(8, ge=0, le=100, description="attempts of one event after its first")
    backoff_base_seconds: float = Field(1.0, gt=0)
    backoff_cap_seconds: float = Field(60.0, gt=0)
    breaker_failures: int = Field(5, ge=1, description="failures in a row that open a KATO instance's circuit")
    breaker_interval_seconds: float = Field(
        2.0, gt=0, description="how often an instance whose circuit is open is probed"
    )
    on_rejected: Literal["dead_letter", "park"] = Field(
        "dead_letter", description="an event that KATO definitely refuses"
    )
    on_exhausted: Literal["park", "dead_letter"] = Field("park", description="an event whose attempts are used up")

    on_unknown_learn: Literal["go_on", "park"] = Field(
        "go_on", description="a learn whose outcome nobody can know (it is counted, and its node marked for rebuild)"
    )

    dedupe_days: float = Field(7.0, gt=0, description="how long event ids are remembered, at least")
    result_seconds: int = Field(86_400, ge=60, description="how long results are kept")
    store_full_share: float = Field(
        0.9, gt=0, le=1, description="above this share of the store's maxmemory events are refused and drains go on"
    )
    visibility_timeout_seconds: int = Field(
        90, ge=30, description="when Redis gives a killed worker's task messages to another"
    )

    max_strings: int = Field(1_000, ge=1)
    max_string_chars: int = Field(20_000, ge=1, le=200_000)
    max_vectors: int = Field(64, ge=0)
    max_vector_length: int = Field(8_192, ge=1)
    max_emotives: int = Field(256, ge=0)
    max_event_bytes: int = Field(262_144, ge=1_000)

    @field_validator("kato_urls", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("kato_urls")
    @classmethod
    def _http_only(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if not urls:
            raise ValueError("is empty; give KATO's address, such as http://127.0.0.1:8000")
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is no http:// or https:// address; write http://host:port")
        return tuple(url.rstrip("/") for url in urls)

    @field_validator("store_url")
    @classmethod
    def _redis_store(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"{hide_secrets(url)!r} is no Redis address; write redis://host:port/db")
        return url

    @model_validator(mode="after")
    def _times_fit(self) -> Settings:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError("renew_seconds must be at most half of lease_seconds, or a busy worker loses its lanes")
        return self

    @property
    def limits(self) -> Limits:
        """The limits of one observation."""
        return Limits(
            max_strings=self.max_strings,
            max_string_chars=self.max_string_chars,
            max_vectors=self.max_vectors,
            max_vector_length=self.max_vector_length,
            max_emotives=self.max_emotives,
            max_event_bytes=self.max_event_bytes,
        )

    def shown(self) -> dict[str, Any]:
        """The effective settings as plain JSON, secrets hidden."""
        return {name: _hidden(value) for name, value in self.model_dump(mode="json").items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return hide_secrets(value) if isinstance(value, str) else value


_SECRET_IN_QUERY = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*")


def hide_secrets(url: str) -> str:
    """An address without its password, wherever it stands."""
    if "://" not in url:
        return url
    url = _SECRET_IN_QUERY.sub(r"\1***", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    where = parts.netloc.rsplit("@", 1)[1]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{where}"))


@cache
def settings() -> Settings:
    """The process's settings; raises ConfigurationError naming the variable."""
    try:
        return Settings()
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"][:1]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"KATO_TASKS_{name}: {reason}" if name else f"settings: {reason}") from None

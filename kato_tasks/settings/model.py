"""One frozen configuration, checked when it is made, from the environment or ``.env`` (prefix ``KATO_TASKS_``)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kato_tasks.domain.instance import Instance
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.session_config import breach
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings.checks import (
    check_archive,
    check_backend,
    check_broker,
    check_instances,
    check_kafka,
    check_rabbitmq,
    check_readable,
    check_store,
    hidden,
    hide_secrets,
    read_headers,
    read_session_config,
    read_token,
    variable,
)
from kato_tasks.settings.sources import check_names, read_settings, sentence


class Settings(BaseModel):
    """Every setting, with its unit in its name. ``kato-tasks config`` prints the effective ones.

    Arguments such as ``Settings(shards=4)`` take precedence over the environment, which takes precedence over ``.env``.
    Raises ConfigurationError with one sentence that names the variable.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Celery's broker: redis:// or amqp://")
    result_backend: str = Field("redis://127.0.0.1:6379/1", description="Celery's result backend")
    store_url: str = Field(
        "redis://127.0.0.1:6379/2", description="the Redis that holds the event log, lanes and leases"
    )
    kafka_bootstrap: str = Field(
        "127.0.0.1:9092",
        description="Kafka's brokers for listeners, publishers and sinks: host:port, several separated by commas",
    )
    rabbitmq_url: str = Field(
        "amqp://127.0.0.1:5672//",
        description="the RabbitMQ of listeners, publishers and sinks; Celery's own broker is `BROKER_URL`",
    )
    streams_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="the Redis whose streams listeners read, and publishers and sinks add to",
    )
    archive_url: str = Field(
        "",
        description="the database that keeps history for good, postgresql://user@host/database or sqlite:////path; "
        "empty: none, Redis keeps everything",
    )
    archive_keep_days: float = Field(
        0.0, ge=0, description="how long the archive keeps an event after it was applied (0: forever)"
    )
    archive_keep_events: int = Field(
        0, ge=0, description="how many of a session's events the archive keeps, the newest (0: all)"
    )
    kato_urls: tuple[str, ...] = Field(
        ("http://127.0.0.1:8000",),
        description="addresses of KATO's instances, separated by commas; all must use the same Redis, ClickHouse "
        "and Qdrant; `user:password@` is sent as Basic auth",
    )
    kato_transport: Literal["fast", "httpx"] = Field(
        "fast", description="the client for KATO: `fast`, our own, or `httpx`, which supports proxies and HTTP/2"
    )
    kato_token_file: str = Field("", description="a file that holds the token, instead of `KATO_TOKEN`")
    kato_token: SecretStr = Field(
        SecretStr(""), description="sent to KATO as `Authorization: Bearer …`", validate_default=True
    )
    kato_headers_file: str = Field("", description="a file that holds the headers, instead of `KATO_HEADERS`")
    kato_headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="more headers of each request to KATO, as a JSON object of header → value",
        validate_default=True,
    )
    kato_ca_file: str = Field(
        "", description="PEM file of the authorities to trust for https:// instances; empty: the system's authorities"
    )
    kato_client_cert_file: str = Field("", description="PEM file of our client certificate for https:// instances")
    kato_client_key_file: str = Field(
        "", description="PEM file of its key; empty: the key is in the certificate's file"
    )
    shards: int = Field(16, ge=1, le=256, description="number of Celery queues that the partitions are spread over")
    own_queue: str = Field(
        "kato.own",
        description="queue of an application's own tasks on `kato_tasks.app`; start a worker with `-Q` and this name",
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="how workers and commands log: text, or one JSON object per line"
    )
    unknown_keys: Literal["refuse", "pass"] = Field(
        "refuse",
        description="unknown keys of events and of the session config: refuse them as typing errors, or leave them out",
    )
    unknown_settings: Literal["refuse", "pass"] = Field(
        "refuse",
        description="variables with this prefix that are not settings: refuse them as typing errors, or ignore them",
    )

    kato_timeout_seconds: float = Field(30.0, gt=0, description="how long an answer of KATO may take")
    kato_connections: int = Field(16, ge=1, le=256, description="connections to each KATO instance, per process")
    kato_session_ttl_seconds: int = Field(3600, ge=60, le=30 * 86_400, description="time to live of a KATO session")
    keep_alive_hours: float = Field(
        24.0,
        ge=0,
        description="how long after a session's last event its KATO session is kept from "
        "expiring while events are unlearned",
    )
    kato_session_config: dict[str, Any] = Field(
        default_factory=dict, description="more keys of KATO's session config, as JSON"
    )
    kato_settle_seconds: float = Field(
        1.0,
        ge=0.2,
        description="how long after a DELETE a learn that was under way may still land; if KATO runs several server "
        "processes, add its request timeout",
    )

    verify_last: bool = Field(
        False, description="read KATO's state also after a session's last event, at one more request per idle session"
    )

    lease_seconds: float = Field(4.0, ge=0.5, le=60, description="how long a silent worker keeps a lane")
    renew_seconds: float = Field(1.0, gt=0, description="how often a lease is renewed during a call")
    slice_seconds: float = Field(1.0, gt=0, le=60, description="how long a drain runs before it gives its lanes back")
    batch_events: int = Field(400, ge=1, le=1_000, description="most observations in one call to KATO")
    batch_bytes: int = Field(1_000_000, ge=1_000, description="most bytes in one call to KATO")
    lanes_per_wakeup: int = Field(64, ge=1, le=1_000, description="most lanes that one wake-up drains at the same time")
    sweep_seconds: float = Field(1.0, gt=0, description="how often the workers look for lost wake-ups")

    replay_slice_seconds: float = Field(
        2.0, gt=0, le=30, description="how long a replay's task works before live events have their turn"
    )
    replay_events_per_second: int = Field(
        0, ge=0, description="how many events all replays together copy per second at most (0: as many as they can)"
    )

    max_retries: int = Field(8, ge=0, le=100, description="further attempts of an event after the first one fails")
    max_rebuilds: int = Field(
        50,
        ge=1,
        description="consecutive failed rebuilds of a session's KATO session after which the session is parked",
    )
    max_waiting_predicts: int = Field(100, ge=1, description="most predicts of one session that may wait at once")
    predict_patience_seconds: float = Field(
        5.0,
        ge=0,
        description="how long a predict that fails may hold up its session's later events before it is refused",
    )
    backoff_base_seconds: float = Field(
        1.0, gt=0, description="the first wait is a random part of this, which doubles with each attempt"
    )
    backoff_cap_seconds: float = Field(60.0, gt=0, description="longest wait between two attempts")
    breaker_failures: int = Field(5, ge=1, description="consecutive failures that open a KATO instance's circuit")
    breaker_interval_seconds: float = Field(
        2.0, gt=0, description="how often an instance whose circuit is open is probed"
    )
    on_rejected: Literal["dead_letter", "park"] = Field(
        "dead_letter", description="what happens to an event that KATO definitely refuses"
    )
    on_exhausted: Literal["park", "dead_letter"] = Field(
        "park", description="what happens to an event whose attempts are used up"
    )

    on_unknown_learn: Literal["go_on", "park"] = Field(
        "go_on",
        description="what happens to a session whose learn has an outcome that cannot "
        "be found out (it is always counted)",
    )

    dedupe_days: float = Field(7.0, gt=0, description="how long event ids are remembered at least")
    result_seconds: int = Field(86_400, ge=60, description="how long a result is kept while no task has fetched it")
    store_full_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="above this share of the store's maxmemory, new events are refused while drains go on",
    )
    visibility_timeout_seconds: int = Field(
        90, ge=30, description="after how long Redis gives a killed worker's task messages to another worker"
    )

    http_max_body_bytes: int = Field(
        16_777_216, ge=1_000, description="largest body of an HTTP request that is not NDJSON, in bytes"
    )
    http_held_bytes: int = Field(
        268_435_456,
        ge=1_000_000,
        description="how many bytes of bodies that are not NDJSON one HTTP server process works on at the same time",
    )
    http_max_events: int = Field(
        10_000, ge=1, description="most events in one HTTP request that is not NDJSON, which has no limit"
    )
    http_max_header_bytes: int = Field(
        32_768, ge=1_000, description="most bytes of an HTTP request before its body: its first line and headers"
    )
    http_header_seconds: float = Field(
        10.0, gt=0, description="how long an HTTP client may take from connecting to the end of its headers"
    )
    http_body_seconds: float = Field(
        30.0, gt=0, description="how long an HTTP client may take for a body, and for each 64 KB of an NDJSON body"
    )
    http_keep_alive_seconds: float = Field(
        30.0, gt=0, description="how long an HTTP connection on which nothing is asked stays open"
    )
    http_wait_seconds: float = Field(
        25.0,
        ge=0,
        le=600,
        description="longest that a request in KATO's own form waits for KATO's answer; then it is answered 202 with "
        "the address of its task. A request's Prefer: wait=N says otherwise",
    )
    http_connections: int = Field(10_000, ge=1, description="most HTTP connections of one server process")
    http_stop_seconds: float = Field(
        20.0, gt=0, description="how long an HTTP server that is told to stop lets requests under way go on"
    )

    max_strings: int = Field(1_000, ge=1, description="most strings in one observation")
    max_string_chars: int = Field(20_000, ge=1, le=200_000, description="longest string, in characters")
    max_vectors: int = Field(64, ge=0, description="most vectors in one observation")
    max_vector_length: int = Field(8_192, ge=1, description="most numbers in one vector")
    max_emotives: int = Field(256, ge=0, description="most emotives in one observation")
    max_event_bytes: int = Field(262_144, ge=1_000, description="largest event in the log, in bytes")

    def __init__(self, **given: Any) -> None:
        known = type(self).model_fields
        check_names(given, known)
        found = read_settings(known)
        try:
            super().__init__(**{**found.texts, **given})
        except ValidationError as exc:
            raise ConfigurationError(sentence(exc)) from None
        self._origins = {**found.origins, **dict.fromkeys(given, "code")}

    _broker = field_validator("broker_url")(check_broker)
    _backend = field_validator("result_backend")(check_backend)
    _redis = field_validator("store_url", "streams_url")(check_store)
    _kafka = field_validator("kafka_bootstrap")(check_kafka)
    _rabbitmq = field_validator("rabbitmq_url")(check_rabbitmq)
    _archive = field_validator("archive_url")(check_archive)
    _instances = field_validator("kato_urls")(check_instances)
    _files = field_validator("kato_token_file", "kato_headers_file", "kato_ca_file", "kato_client_cert_file")(
        check_readable
    )
    _config = field_validator("kato_session_config", mode="before")(read_session_config)

    @field_validator("kato_urls", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("kato_token", mode="before")
    @classmethod
    def _token(cls, value: Any, info: ValidationInfo) -> Any:
        return read_token(value, info.data)

    @field_validator("kato_headers", mode="before")
    @classmethod
    def _headers(cls, value: Any, info: ValidationInfo) -> Any:
        return read_headers(value, info.data)

    @field_validator("kato_session_config")
    @classmethod
    def _keeps_the_protocol(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if why := breach(config, info.data.get("unknown_keys", "refuse")):
            raise ValueError(why)
        return config

    @field_validator("own_queue")
    @classmethod
    def _no_queue_of_ours(cls, name: str) -> str:
        if not name.strip() or name in ("kato.control", "kato.replay") or name.startswith("kato.lane."):
            raise ValueError(f"{name!r} cannot be the queue of an application's tasks; write a name such as kato.own")
        return name

    @model_validator(mode="after")
    def _times_fit(self) -> Settings:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"{variable('renew_seconds')} must be at most half of {variable('lease_seconds')} "
                f"({self.lease_seconds:g}): set it to {self.lease_seconds / 2:g} or less, or a busy worker loses its "
                "lanes"
            )
        if self.backoff_base_seconds > self.backoff_cap_seconds:
            raise ValueError(
                f"{variable('backoff_base_seconds')} must be at most {variable('backoff_cap_seconds')} "
                f"({self.backoff_cap_seconds:g}), which no wait exceeds"
            )
        return self

    @model_validator(mode="after")
    def _one_authorization(self) -> Settings:
        said = [
            name
            for name, there in (
                (variable("kato_token"), bool(self.kato_token.get_secret_value())),
                (variable("kato_headers"), "authorization" in self.kato_headers),
                (f"a user in {variable('kato_urls')}", bool(self.kato_credentials)),
            )
            if there
        ]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} all say how to authorize at KATO; keep one")
        if self.kato_client_key_file and not self.kato_client_cert_file:
            raise ValueError(
                f"{variable('kato_client_key_file')} is the key of no certificate; give "
                f"{variable('kato_client_cert_file')} too"
            )
        return self

    @property
    def kato_instances(self) -> tuple[str, ...]:
        """Return the names of the KATO instances: their addresses without credentials."""
        return tuple(Instance.parse(url).name for url in self.kato_urls)

    @property
    def kato_credentials(self) -> Mapping[str, tuple[str, str]]:
        """Return the user and password of each instance that has them, by its name. Never show these."""
        instances = [Instance.parse(url) for url in self.kato_urls]
        return {one.name: (one.user, one.password) for one in instances if one.user is not None}

    @property
    def kato_request_headers(self) -> dict[str, str]:
        """Return the headers that each request to KATO carries beside its own ones. Never show these."""
        headers = {name: value.get_secret_value() for name, value in self.kato_headers.items()}
        token = self.kato_token.get_secret_value()
        return headers | {"authorization": f"Bearer {token}"} if token else headers

    @property
    def limits(self) -> Limits:
        """Return the limits of one observation, and whether unknown keys are refused."""
        return Limits(
            max_strings=self.max_strings,
            max_string_chars=self.max_string_chars,
            max_vectors=self.max_vectors,
            max_vector_length=self.max_vector_length,
            max_emotives=self.max_emotives,
            max_event_bytes=self.max_event_bytes,
            unknown_keys=self.unknown_keys,
        )

    def shown(self) -> dict[str, Any]:
        """Return the effective settings as plain JSON, with secrets hidden."""
        return {name: hidden(value) for name, value in self.model_dump(mode="json").items()}

    def origin(self, name: str) -> str:
        """Return where a setting's value comes from: ``default``, ``environment``, ``.env``, ``code`` or a file."""
        path = getattr(self, f"{name}_file", "")
        return f"file {path}" if path else self._origins.get(name, "default")


_given: Settings | None = None


def use(config: Settings | None) -> None:
    """Use these settings in this process instead of those of its environment; None: read the environment again."""
    global _given
    _given = config
    settings.cache_clear()


def given_settings() -> Settings | None:
    """The settings that ``use`` was given; None where those of the environment count."""
    return _given


@cache
def settings() -> Settings:
    """Return the process's settings; raises ConfigurationError naming the variable."""
    return _given if _given is not None else Settings()


__all__ = ["Settings", "given_settings", "hide_secrets", "settings", "use"]

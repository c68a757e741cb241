"""One frozen configuration, checked at birth: environment or ``.env``, prefix ``KATO_TASKS_``."""

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
    check_backend,
    check_broker,
    check_instances,
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

    ``Settings(shards=4)`` takes what is given before what the environment and ``.env`` say. Raises ConfigurationError,
    in one sentence that names the variable.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Celery's broker: redis:// or amqp://")
    result_backend: str = Field("redis://127.0.0.1:6379/1", description="Celery's result backend")
    store_url: str = Field("redis://127.0.0.1:6379/2", description="the event log, lanes and leases: a Redis")
    archive_url: str = Field("", description="empty: the archive comes with a later release; Redis keeps everything")
    kato_urls: tuple[str, ...] = Field(
        ("http://127.0.0.1:8000",),
        description="addresses of KATO's instances, with commas between them; all must use the same Redis, ClickHouse "
        "and Qdrant; `user:password@` is sent as Basic auth",
    )
    kato_transport: Literal["fast", "httpx"] = Field(
        "fast", description="the client of KATO: the own one, or httpx, which knows proxies and HTTP/2"
    )
    kato_token_file: str = Field("", description="a file with the token, in place of `KATO_TOKEN`")
    kato_token: SecretStr = Field(
        SecretStr(""), description="sent to KATO as `Authorization: Bearer …`", validate_default=True
    )
    kato_headers_file: str = Field("", description="a file with the headers, in place of `KATO_HEADERS`")
    kato_headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="more headers of each request to KATO, as a JSON object of header → value",
        validate_default=True,
    )
    kato_ca_file: str = Field(
        "", description="whom to trust at https:// instances, in PEM; empty: whom the system trusts"
    )
    kato_client_cert_file: str = Field("", description="our own certificate for https:// instances, in PEM")
    kato_client_key_file: str = Field("", description="its key, in PEM; empty: it is in the certificate's file")
    shards: int = Field(16, ge=1, le=256, description="Celery queues that the partitions are spread over")
    own_queue: str = Field(
        "kato.own", description="where an application's tasks on `kato_tasks.app` go, for a worker with `-Q` and this"
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="how workers and commands log: text, or one JSON object per line"
    )
    unknown_keys: Literal["refuse", "pass"] = Field(
        "refuse", description="keys of events and of the session config that nobody knows: typing errors, or left out"
    )
    unknown_settings: Literal["refuse", "pass"] = Field(
        "refuse", description="variables of this prefix that are no settings: typing errors, or somebody else's"
    )

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
        1.0,
        ge=0.2,
        description="how long after a DELETE a learn that was under way may still land; add KATO's own request timeout "
        "where it runs several server processes",
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
    max_rebuilds: int = Field(
        50, ge=1, description="failed rebuilds of one session's KATO session in a row before the session is parked"
    )
    max_waiting_predicts: int = Field(100, ge=1, description="predicts of one session that may wait at once")
    predict_patience_seconds: float = Field(
        5.0, ge=0, description="how long a predict that KATO fails holds up its session's later events, then refused"
    )
    backoff_base_seconds: float = Field(
        1.0, gt=0, description="the first wait is a random part of this; the bound doubles with each attempt"
    )
    backoff_cap_seconds: float = Field(60.0, gt=0, description="the bound of a wait never grows beyond this")
    breaker_failures: int = Field(5, ge=1, description="failures in a row that open a KATO instance's circuit")
    breaker_interval_seconds: float = Field(
        2.0, gt=0, description="how often an instance whose circuit is open is probed"
    )
    on_rejected: Literal["dead_letter", "park"] = Field(
        "dead_letter", description="an event that KATO definitely refuses"
    )
    on_exhausted: Literal["park", "dead_letter"] = Field("park", description="an event whose attempts are used up")

    on_unknown_learn: Literal["go_on", "park"] = Field(
        "go_on",
        description="a learn whose outcome cannot be found out; it is counted, and its session goes on or is parked",
    )

    dedupe_days: float = Field(7.0, gt=0, description="how long event ids are remembered, at least")
    result_seconds: int = Field(86_400, ge=60, description="how long a result is kept while no task has fetched it")
    store_full_share: float = Field(
        0.9, gt=0, le=1, description="above this share of the store's maxmemory events are refused and drains go on"
    )
    visibility_timeout_seconds: int = Field(
        90, ge=30, description="when Redis gives a killed worker's task messages to another"
    )

    max_strings: int = Field(1_000, ge=1, description="strings in one observation at most")
    max_string_chars: int = Field(20_000, ge=1, le=200_000, description="length of one string at most")
    max_vectors: int = Field(64, ge=0, description="vectors in one observation at most")
    max_vector_length: int = Field(8_192, ge=1, description="numbers in one vector at most")
    max_emotives: int = Field(256, ge=0, description="emotives in one observation at most")
    max_event_bytes: int = Field(262_144, ge=1_000, description="size of one event in the log at most")

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
    _store = field_validator("store_url")(check_store)
    _instances = field_validator("kato_urls")(check_instances)
    _files = field_validator("kato_token_file", "kato_headers_file", "kato_ca_file", "kato_client_cert_file")(
        check_readable
    )
    _config = field_validator("kato_session_config", mode="before")(read_session_config)

    @field_validator("archive_url")
    @classmethod
    def _no_archive_yet(cls, url: str) -> str:
        if url:
            raise ValueError(
                "the archive comes with a later release, and nothing would be written to it; leave it empty"
            )
        return url

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
        """The names of the KATO instances: their addresses without credentials."""
        return tuple(Instance.parse(url).name for url in self.kato_urls)

    @property
    def kato_credentials(self) -> Mapping[str, tuple[str, str]]:
        """User and password of each instance that has them, by its name. Not to be shown."""
        instances = [Instance.parse(url) for url in self.kato_urls]
        return {one.name: (one.user, one.password) for one in instances if one.user is not None}

    @property
    def kato_request_headers(self) -> dict[str, str]:
        """What each request to KATO carries beside its own headers. Not to be shown."""
        headers = {name: value.get_secret_value() for name, value in self.kato_headers.items()}
        token = self.kato_token.get_secret_value()
        return headers | {"authorization": f"Bearer {token}"} if token else headers

    @property
    def limits(self) -> Limits:
        """The limits of one observation, and what becomes of keys that nobody knows."""
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
        """The effective settings as plain JSON, secrets hidden."""
        return {name: hidden(value) for name, value in self.model_dump(mode="json").items()}

    def origin(self, name: str) -> str:
        """Where a setting's value comes from: ``default``, ``environment``, ``.env``, ``code`` or its own file."""
        path = getattr(self, f"{name}_file", "")
        return f"file {path}" if path else self._origins.get(name, "default")


_given: Settings | None = None


def use(config: Settings | None) -> None:
    """Make these the process's settings, in place of those of its environment; None: read its environment again."""
    global _given
    _given = config
    settings.cache_clear()


def given_settings() -> Settings | None:
    """The settings that ``use`` was given; None where those of the environment count."""
    return _given


@cache
def settings() -> Settings:
    """The process's settings; raises ConfigurationError naming the variable."""
    return _given if _given is not None else Settings()


__all__ = ["Settings", "given_settings", "hide_secrets", "settings", "use"]

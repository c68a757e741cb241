"""One frozen configuration, checked at birth: environment or ``.env``, prefix ``KATO_TASKS_``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from kato_tasks.domain.instance import Instance
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.session_config import breach
from kato_tasks.errors import ConfigurationError


class Settings(BaseSettings):
    """Every setting, with its unit in its name. ``kato-tasks config`` prints the effective ones."""

    model_config = SettingsConfigDict(
        env_prefix="KATO_TASKS_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # it may hold a password
    )

    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Celery's broker: redis:// or amqp://")
    result_backend: str = Field("redis://127.0.0.1:6379/1", description="Celery's result backend")
    store_url: str = Field("redis://127.0.0.1:6379/2", description="the event log, lanes and leases: a Redis")
    archive_url: str = Field("", description="SQLAlchemy URL of the archive; empty: none, Redis keeps everything")
    kato_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://127.0.0.1:8000",),
        description="KATO instances, comma-separated, all on one set of stores; `user:password@` is sent as Basic auth",
    )
    kato_transport: Literal["fast", "httpx"] = Field(
        "fast", description="the client of KATO: the own one, or httpx, which knows proxies and HTTP/2"
    )
    kato_token_file: str = Field("", description="a file with the token, in place of `KATO_TOKEN`")
    kato_token: SecretStr = Field(
        SecretStr(""), description="sent to KATO as `Authorization: Bearer …`", validate_default=True
    )
    kato_headers_file: str = Field("", description="a file with the headers, in place of `KATO_HEADERS`")
    kato_headers: Annotated[dict[str, SecretStr], NoDecode] = Field(
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
    max_rebuilds: int = Field(
        50, ge=1, description="failed rebuilds of one session's KATO session in a row before the session is parked"
    )
    max_waiting_predicts: int = Field(100, ge=1, description="predicts of one session that may wait at once")
    predict_patience_seconds: float = Field(
        5.0, ge=0, description="how long a predict that KATO fails holds up its session's later events, then refused"
    )
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
    result_seconds: int = Field(86_400, ge=60, description="how long a result is kept that nobody was told")
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
        found: dict[str, Instance] = {}
        for url in urls:
            instance = Instance.parse(url)
            if found.setdefault(instance.name, instance) != instance:
                raise ValueError(f"{instance.name!r} stands there twice, with different credentials")
        return tuple(dict.fromkeys(url.rstrip("/") for url in urls))

    @field_validator("kato_token", mode="before")
    @classmethod
    def _token(cls, value: Any, info: ValidationInfo) -> Any:
        token = _or_from_file(_revealed(value), info, "kato_token_file")
        if not re.fullmatch(r"[\x21-\x7e]*", token):
            raise ValueError("is no token: it has a space, a line end or a character that is not ASCII")
        return SecretStr(token)

    @field_validator("kato_headers", mode="before")
    @classmethod
    def _headers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict) and value:
            value = json.dumps({name: _revealed(item) for name, item in value.items()})
        text = _or_from_file(value or "", info, "kato_headers_file")
        try:
            headers = json.loads(text or "{}")
        except ValueError:
            headers = None
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise ValueError('is no JSON object of header → value; write {"x-api-key": "…"}')
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set: the client of KATO writes it itself")
            if not re.fullmatch(r"[\x20-\x7e]*", value):
                raise ValueError(f"the value of {name!r} has a line end or a character that is not ASCII")
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("names a header twice")
        return {name.lower(): SecretStr(value) for name, value in headers.items()}

    @field_validator("kato_token_file", "kato_headers_file", "kato_ca_file", "kato_client_cert_file")
    @classmethod
    def _readable(cls, path: str) -> str:
        if path:
            _text_of(path)
        return path

    @field_validator("kato_session_config")
    @classmethod
    def _keeps_the_protocol(cls, config: dict[str, Any]) -> dict[str, Any]:
        if why := breach(config):
            raise ValueError(why)
        return config

    @field_validator("store_url")
    @classmethod
    def _redis_store(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"{hide_secrets(url)!r} is no Redis address; write redis://host:port/db")
        return url

    @field_validator("own_queue")
    @classmethod
    def _no_queue_of_ours(cls, name: str) -> str:
        if not name.strip() or name in ("kato.control", "kato.replay") or name.startswith("kato.lane."):
            raise ValueError(f"{name!r} cannot be the queue of an application's tasks; write a name such as kato.own")
        return name

    @model_validator(mode="after")
    def _times_fit(self) -> Settings:
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ValueError("renew_seconds must be at most half of lease_seconds, or a busy worker loses its lanes")
        return self

    @model_validator(mode="after")
    def _one_authorization(self) -> Settings:
        said = [
            name
            for name, there in (
                ("KATO_TOKEN", bool(self.kato_token.get_secret_value())),
                ("KATO_HEADERS", "authorization" in self.kato_headers),
                ("a user in KATO_URLS", bool(self.kato_credentials)),
            )
            if there
        ]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} all say how to authorize at KATO; keep one")
        if self.kato_client_key_file and not self.kato_client_cert_file:
            raise ValueError("KATO_CLIENT_KEY_FILE is the key of no certificate; give KATO_CLIENT_CERT_FILE too")
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
    if isinstance(value, dict):
        return {name: _hidden(item) for name, item in value.items()}
    return hide_secrets(value) if isinstance(value, str) else value


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset(
    ["host", "accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "te", "trailer"]
) | {"transfer-encoding", "upgrade"}


def _revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read ({getattr(exc, 'strerror', None) or 'it is not UTF-8'})") from None


def _or_from_file(value: str, info: ValidationInfo, name: str) -> str:
    path = info.data.get(name)
    if path and value:
        raise ValueError(f"is set, and so is {name.upper()}; keep one")
    return _text_of(path) if path else value.strip()


_SECRET_IN_QUERY = re.compile(r"(?i)([?&][^=&;]*(?:password|secret|token|key)[^=&;]*=)[^&;]*")
_USER_IN_ADDRESS = re.compile(r"^\s*([A-Za-z][\w+.-]*://)?([^:@/]*)(:?).*@")


_NEXT_ADDRESS = re.compile(r";(?=[A-Za-z][\w+.-]*://)")


def hide_secrets(url: str) -> str:
    """An address, or several with ``;`` between them, without passwords, wherever they stand."""
    if "://" not in url:
        return url
    return ";".join(_without_password(part) for part in _NEXT_ADDRESS.split(url))


def _without_password(url: str) -> str:
    url = _SECRET_IN_QUERY.sub(r"\1***", url)
    address, question, query = url.partition("?")
    if "@" in query and "/" not in address.partition("://")[2]:
        address, question, query = url, "", ""  # a raw question mark in the password
    return _USER_IN_ADDRESS.sub(_hidden_user, address) + question + query


def _hidden_user(found: re.Match[str]) -> str:
    # A user without a password may be a token.
    user = found[2] if found[3] else "***"
    return f"{found[1] or ''}{user}{':***' if found[3] else ''}@"


_given: Settings | None = None


def use(config: Settings) -> None:
    """Make these the process's settings, in place of those of its environment."""
    global _given
    _given = config
    settings.cache_clear()


@cache
def settings() -> Settings:
    """The process's settings; raises ConfigurationError naming the variable."""
    if _given is not None:
        return _given
    try:
        return Settings()
    except SettingsError as exc:
        raise ConfigurationError(f"settings: {exc}") from None
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"][:1]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"KATO_TASKS_{name}: {reason}" if name else f"settings: {reason}") from None

"""How KATO is reached: what the settings accept, refuse in a sentence, and never show."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.connection import Origin
from kato_tasks.bootstrap.runtime import access_of, terms_of
from kato_tasks.domain.instance import Instance, instance_name
from kato_tasks.domain.kato_session import Binding
from kato_tasks.errors import ConfigurationError
from kato_tasks.ports.kato import KatoRequest
from kato_tasks.settings import Settings, hide_secrets, settings

SECRET = "pw-7f3a"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield
    settings.cache_clear()


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    settings.cache_clear()
    return settings()


def head_of(config: Settings, url: str) -> str:
    return Origin(url, access_of(config)).request(KatoRequest(url, "GET", "/x", "x")).decode()


def test_a_token_is_sent_as_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    config = given(monkeypatch, KATO_TOKEN=SECRET)
    assert f"authorization: Bearer {SECRET}\r\n" in head_of(config, config.kato_instances[0])


def test_headers_are_sent_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    config = given(monkeypatch, KATO_HEADERS=json.dumps({"X-Api-Key": SECRET, "x-tenant": "a b"}))
    head = head_of(config, config.kato_instances[0])
    assert f"x-api-key: {SECRET}\r\nx-tenant: a b\r\n" in head


def test_token_and_headers_may_stand_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "headers").write_text('{"x-tenant": "t"}\n')
    config = given(monkeypatch, KATO_TOKEN_FILE=str(tmp_path / "token"), KATO_HEADERS_FILE=str(tmp_path / "headers"))
    assert config.kato_request_headers == {"x-tenant": "t", "authorization": f"Bearer {SECRET}"}


def test_a_user_in_an_address_is_sent_as_basic_to_that_instance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = given(monkeypatch, KATO_URLS=f"http://me:{SECRET}%2C%40@one:1/kato/,http://two:2")
    assert config.kato_instances == ("http://one:1/kato", "http://two:2")
    basic = base64.b64encode(f"me:{SECRET},@".encode()).decode()
    assert f"authorization: Basic {basic}\r\n" in head_of(config, "http://one:1/kato")
    assert "authorization" not in head_of(config, "http://two:2")


def test_the_name_of_an_instance_never_holds_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Falls when `terms_of` takes `kato_urls` in place of `kato_instances`."""
    config = given(monkeypatch, KATO_URLS=f"http://me:{SECRET}@one:1")
    assert terms_of(config).kato.urls == ("http://one:1",)


def test_a_binding_that_holds_credentials_is_one_of_the_same_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions wrote the address down as it was set. Falls when `Binding.load` keeps it."""
    config = given(monkeypatch, KATO_URLS=f"http://me:{SECRET}@one:1,http://two:2")
    old = json.dumps([f"http://me:{SECRET}@one:1", "k", "n", 1, 1, 1, 1, "", -1])
    binding = Binding.load(old)
    assert binding is not None
    assert binding.url in terms_of(config).kato.urls
    assert SECRET not in binding.dump()


@pytest.mark.parametrize(
    "urls",
    [
        "http://kato:99999",
        "http://kato:port",
        "http://kato:0",
        "http://",
        "kato:8000",
        "ftp://kato",
        "http://ka to",
        "http://kato/ü",
        "http://ka\u2028to",
        "http://" + "ü" * 80,
        "http://[::1",
        "http://kato?x=1",
        ",",
        f"http://me:{SECRET}@kato:99999",
        f"http://me:{SECRET},and more@kato:1",
        f"http://me:{SECRET}/more@kato:1",
        f"me:{SECRET}@kato:1",
        f"http://me:{SECRET}@kato:1,http://me:other@kato:1",
    ],
)
def test_an_address_that_cannot_work_is_refused_at_the_start_without_its_password(
    monkeypatch: pytest.MonkeyPatch, urls: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^KATO_TASKS_KATO_URLS: ") as caught:
        given(monkeypatch, KATO_URLS=urls)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["straße.example", "例え.テスト", "xn--strae-oqa.example", "kato_1", "[::1]"])
def test_every_name_that_dns_knows_is_good(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    config = given(monkeypatch, KATO_URLS=f"http://{host}:8000")
    assert config.kato_instances == (f"http://{host}:8000",)
    head_of(config, config.kato_instances[0]).encode("ascii")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"KATO_TOKEN": f"{SECRET} x"}, "KATO_TASKS_KATO_TOKEN: is no token"),
        ({"KATO_TOKEN": f"{SECRET}\r\nx-other: 1"}, "KATO_TASKS_KATO_TOKEN: is no token"),
        ({"KATO_TOKEN_FILE": "/nowhere/token"}, "KATO_TASKS_KATO_TOKEN_FILE: /nowhere/token cannot be read"),
        ({"KATO_HEADERS": SECRET}, "KATO_TASKS_KATO_HEADERS: is no JSON object"),
        ({"KATO_HEADERS": f'["{SECRET}"]'}, "KATO_TASKS_KATO_HEADERS: is no JSON object"),
        ({"KATO_HEADERS": '{"x": 1}'}, "KATO_TASKS_KATO_HEADERS: is no JSON object"),
        ({"KATO_HEADERS": json.dumps({"x": f"{SECRET}\r\ny: z"})}, "the value of 'x' has a line end"),
        ({"KATO_HEADERS": '{"x y": ""}'}, "'x y' is no name of a header"),
        ({"KATO_HEADERS": '{"Content-Length": "1"}'}, "'Content-Length' cannot be set"),
        ({"KATO_HEADERS": '{"X": "1", "x": "2"}'}, "names a header twice"),
        (
            {"KATO_TOKEN": SECRET, "KATO_HEADERS": '{"Authorization": "x"}'},
            "KATO_TOKEN and KATO_TASKS_KATO_HEADERS all say",
        ),
        (
            {"KATO_TOKEN": SECRET, "KATO_URLS": "http://a:b@k:1"},
            "KATO_TOKEN and a user in KATO_TASKS_KATO_URLS all say",
        ),
        ({"KATO_CLIENT_KEY_FILE": "/nowhere/key"}, "KATO_CLIENT_KEY_FILE is the key of no certificate"),
        ({"KATO_CA_FILE": "/nowhere/ca"}, "KATO_TASKS_KATO_CA_FILE: /nowhere/ca cannot be read"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_a_sentence_that_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        given(monkeypatch, **values)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_token_and_its_file_are_not_set_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("other")
    with pytest.raises(ConfigurationError, match="keep one"):
        given(monkeypatch, KATO_TOKEN=SECRET, KATO_TOKEN_FILE=str(tmp_path / "token"))


@pytest.mark.parametrize("name", ["KATO_CA_FILE", "KATO_CLIENT_CERT_FILE"])
def test_a_file_that_holds_no_certificate_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "pem").write_text("nothing")
    config = given(monkeypatch, KATO_URLS="https://kato", **{name: str(tmp_path / "pem")})
    with pytest.raises(ConfigurationError, match=f"KATO_TASKS_{name}"):
        access_of(config)


def test_nothing_that_prints_the_settings_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    config = given(
        monkeypatch,
        KATO_TOKEN=SECRET,
        KATO_HEADERS=json.dumps({"x-key": SECRET}),
        BROKER_URL=f"redis://:{SECRET}@h1;redis://:{SECRET}@h2",
        RESULT_BACKEND=f"rediss://u:{SECRET}@h/1?ssl_key_password={SECRET}",
    )
    assert SECRET not in json.dumps(config.shown())
    assert SECRET not in repr(config.kato_token) + repr(config.kato_headers)
    access = Access(headers=config.kato_request_headers, credentials={"http://k": ("me", SECRET)})
    assert SECRET not in repr(access)
    assert SECRET not in repr(Instance.parse(f"http://{SECRET}:{SECRET}@k"))
    with pytest.raises(ConfigurationError) as caught:
        Settings(store_url=f"http://u:{SECRET}@h")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sentinel://:pw@h1;sentinel://:pw2@h2", "sentinel://:***@h1;sentinel://:***@h2"),
        ("amqp://a:pw@h//;amqp://u:pw2@h2", "amqp://a:***@h//;amqp://u:***@h2"),
        ("rediss://u:p/w;@h:1/0", "rediss://u:***@h:1/0"),
        ("redis://:p?w@h:1/0", "redis://:***@h:1/0"),
        ("redis://token@h", "redis://***@h"),
        ("redis://h:1/0?x=1&password=pw", "redis://h:1/0?x=1&password=***"),
        ("redis://h/0?x=@y", "redis://h/0?x=@y"),
        ("amqp://h", "amqp://h"),
        ("nothing", "nothing"),
    ],
)
def test_a_password_is_hidden_wherever_it_stands(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://kato:1", "http://kato:1"),
        ("http://u:p@kato:1", "http://kato:1"),
        ("http://u:p@q:r@kato:1", "http://kato:1"),
        ("u:p@kato:1", "kato:1"),
    ],
)
def test_the_name_of_an_instance_is_its_address_without_credentials(url: str, name: str) -> None:
    assert instance_name(url) == name

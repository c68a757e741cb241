"""What a reply means, by its status and form alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kato_tasks.engine.drain import kato_answers
from kato_tasks.engine.drain.kato_answers import describe_remedy, find_meaning
from kato_tasks.ports.kato import KatoReply

HTML = b"<html><body>no</body></html>"


def said(status: int, body: Any = None, **headers: str) -> KatoReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return KatoReply(status, raw, **headers)  # type: ignore[arg-type]


UVICORN = {"content_type": "text/plain; charset=utf-8", "server": "uvicorn", "connection": "close"}
FULL = said(503, b"Service Unavailable", **UVICORN)

REPLIES = [
    (said(400, {"detail": "Cannot learn from empty STM"}), "refused"),
    (said(400, {"detail": {"error": "Configuration validation failed"}}), "refused"),
    (said(413, {"detail": "too large"}), "refused"),
    (said(422, {"detail": [{"type": "list_type", "loc": ["body"]}]}), "refused"),
    (said(404, {"error": {"code": "SESSION_NOT_FOUND", "message": "gone"}}), "gone"),
    (said(404, {"detail": "Session session-1 not found or expired"}), "gone"),
    (FULL, "busy"),
    (said(500, b"Internal Server Error"), "unknown"),
    (said(502, HTML), "unknown"),
    (said(504, HTML), "unknown"),
    (said(503, HTML), "gateway"),
    (said(503, b"Service Unavailable"), "gateway"),
    (said(503, b"Service Unavailable", **{**UVICORN, "server": "envoy"}), "gateway"),
    (said(503, b"Service Unavailable", **{**UVICORN, "connection": ""}), "gateway"),
    (said(503, b"upstream connect error", **UVICORN), "gateway"),
    (said(429, {"detail": "slow down"}), "gateway"),
    (said(408, b""), "gateway"),
    (said(202, {"status": "accepted"}), "gateway"),
    (said(400, HTML), "misdirected"),
    (said(400, {"message": "no"}), "misdirected"),
    (said(400, {"title": "Bad Request", "status": 400, "detail": "no"}), "misdirected"),
    (said(413, HTML), "misdirected"),
    (said(422, None), "misdirected"),
    (said(404, HTML), "misdirected"),
    (said(404, {"detail": "Not Found"}), "misdirected"),
    (said(404, {"error": "no route"}), "misdirected"),
    (said(404, {"error": {"code": "NO_SUCH_ROUTE"}}), "misdirected"),
    (said(404, b"[" * 100_000), "misdirected"),
    *((said(s, {"detail": "no"}), "misdirected") for s in (301, 302, 307, 308, 401, 403, 405, 407, 414, 415, 431)),
]


@pytest.mark.parametrize(("reply", "means"), REPLIES, ids=lambda v: f"{v.status}" if isinstance(v, KatoReply) else v)
def test_only_katos_own_400_413_and_422_speak_of_an_event_and_only_its_own_503_is_never_applied(
    reply: KatoReply, means: str
) -> None:
    assert find_meaning(reply) == means


@pytest.mark.parametrize(("reply", "means"), REPLIES, ids=lambda v: f"{v.status}" if isinstance(v, KatoReply) else v)
def test_what_does_not_speak_of_an_event_or_a_session_counts_as_a_failure_of_the_instance(
    reply: KatoReply, means: str
) -> None:
    assert kato_answers.counts_as_failure(reply) == (means not in ("refused", "gone"))


def test_a_200_that_is_no_json_object_counts_as_a_failure_of_the_instance() -> None:
    assert not kato_answers.counts_as_failure(said(200, {"status": "okay"}))
    for other in (b"", HTML, b"null", b"[]", b"ok"):
        assert kato_answers.counts_as_failure(said(200, other))


def test_the_remedy_names_the_setting_and_where_a_redirect_leads_and_no_secret() -> None:
    url = "https://user:secret@kato_api.example:8443/base?key=secret"
    at = "https://kato_api.example:8443/base"
    moved = said(308, b"", location="https://user:secret@new.example/kato?token=secret")
    assert describe_remedy(url, moved) == (
        f"{at} answers 308: KATO_TASKS_KATO_URLS redirects to https://new.example/kato; name KATO's own address there"
    )
    assert "KATO_TASKS_KATO_TOKEN or KATO_TASKS_KATO_HEADERS" in describe_remedy(url, said(401, b""))
    for status in (200, 301, 400, 401, 403, 404, 405, 407, 413, 414, 415, 431):
        sentence = describe_remedy(url, said(status, b"secret"))
        assert sentence.startswith(f"{at} answers {status}: ")
        assert "secret" not in sentence

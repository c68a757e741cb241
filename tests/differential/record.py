"""`python -m tests.differential.record`: asks a real KATO the fixed questions, and keeps its answers in a file."""

import argparse
import hashlib
import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.differential.asking import Side
from tests.differential.calls import Call
from tests.differential.comparing import levelled
from tests.differential.following import Following
from tests.differential.questions import QUESTIONS, Question

RECORDED = Path(__file__).parent / "recorded.json"
LONGEST = 20_000


def answers(url: str, question: Question, tag: str) -> Iterator[dict[str, Any]]:
    """What the KATO at `url` answers to each call of `question`, without what may differ."""
    side, following = Side(url, tag), Following()
    try:
        for call in question.calls:
            answer = side.ask(call)
            yield shortened(levelled(answer, following.about(call, answer)))
            for pattern, node_id in following.learned(call, answer, side):
                side.wait_for(pattern, node_id)
    finally:
        side.close()


def shortened(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with thousands of results, by its hash."""
    text = json.dumps(answer["body"], sort_keys=True)
    if len(text) < LONGEST:
        return answer
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return {**answer, "body": f"{len(text)} characters of JSON with the SHA-1 {digest}"}


def described(call: Call) -> dict[str, Any]:
    """A call as the file shows it; long bodies are cut, which only serves reading."""
    text = call.shown()
    return {"call": text if len(text) < 300 else f"{text[:300]}…"}


def record(url: str, known: dict[str, Any]) -> dict[str, Any]:
    """The whole file; questions that are in `known` as they are asked now keep their answers."""
    kept = {question["title"]: question for question in known.get("questions", [])}
    about = _get(f"{url}/")
    processes = {_get(f"{url}/health")["last_collection"] for _ in range(60)}
    questions = []
    for question in QUESTIONS:
        calls = [described(call)["call"] for call in question.calls]
        old = kept.get(question.title)
        if old is not None and [answer["call"] for answer in old["answers"]] == calls:
            questions.append(old)
            continue
        tag = f"dif{secrets.token_hex(4)}"
        asked = zip(question.calls, answers(url, question, tag), strict=True)
        questions.append({"title": question.title, "nodes": tag, "answers": [{**described(c), **a} for c, a in asked]})
    return {
        "kato": about["version"],
        "recorded": datetime.now(UTC).date().isoformat(),
        "processes": max(len(processes), known.get("processes", 0)),
        "questions": questions,
    }


def text_of(recorded: dict[str, Any]) -> str:
    """JSON with a line for each answer."""
    head = [f" {json.dumps(name)}: {json.dumps(recorded[name])}," for name in ("kato", "recorded", "processes")]
    blocks = []
    for question in recorded["questions"]:
        lines = ",\n".join("   " + json.dumps(answer, ensure_ascii=False) for answer in question["answers"])
        about = json.dumps({"title": question["title"], "nodes": question["nodes"]}, ensure_ascii=False)
        blocks.append(f'  {about[:-1]}, "answers": [\n{lines}\n  ]}}')
    return "\n".join(["{", *head, ' "questions": [', ",\n".join(blocks), " ]", "}\n"])


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  the address that the caller named
        body: dict[str, Any] = json.loads(answer.read())
        return body


def main() -> None:
    """Record, and say how much."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("KATO_URL", "http://127.0.0.1:8000"), help="the real KATO")
    parser.add_argument("--file", type=Path, default=RECORDED)
    parser.add_argument("--missing", action="store_true", help="only what the file has not, of the same KATO")
    given = parser.parse_args()
    known = json.loads(given.file.read_bytes()) if given.missing else {}
    recorded = record(given.url.rstrip("/"), known)
    given.file.write_text(text_of(recorded), encoding="utf-8", errors="surrogateescape")
    number = sum(len(question["answers"]) for question in recorded["questions"])
    print(f"KATO {recorded['kato']}, {recorded['processes']} processes: {number} answers in {given.file}")


if __name__ == "__main__":
    main()

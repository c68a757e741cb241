"""One HTTP call of a history, the same for every KATO that is asked."""

import json
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A call whose path and body may hold names that each run gives a value of its own.

    `~s2` is the history's third session, `~n0` its first node, `~p1` the second pattern it learned. A session
    that was never made keeps its name, which KATO does not know either.
    """

    kind: str
    method: str
    path: str
    body: bytes | None = None
    content_type: str | None = "application/json"
    makes: str = ""
    """The name of the session that it creates."""

    def shown(self) -> str:
        """The call on one line."""
        text = f"{self.method} {self.path}"
        if self.body is not None:
            body = self.body.decode(errors="backslashreplace")
            text += " " + (body if len(body) < 400 else f"{body[:400]}… ({len(body)} characters)")
        if self.content_type != "application/json":
            text += f" (content-type: {self.content_type})"
        return text


def asks(kind: str, method: str, path: str, body: Any = None, *, ascii_only: bool = True) -> Call:
    """A call whose body is `body` as JSON."""
    data = None if body is None else json.dumps(body, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    return Call(kind, method, path, data)

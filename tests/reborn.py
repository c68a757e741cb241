"""An embedded KATO that is killed before every call, and started again on what it has written down.

`python -m tests.reborn` serves one until Ctrl-C and prints its address, which is a KATO_URL for the contract suite.
"""

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kato_tasks.embedded.kato.app import App, Receive, Scope, Send
from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.kato import Kato
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.recalling import recall
from kato_tasks.embedded.kato.server import base_url, listen, make_server


class Reborn(App):
    """`deaths` counts how often. What a killed process leaves is what its files hold at that moment: a copy."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self._directory = directory
        super().__init__(Options(data=directory / "0", **options))
        self.deaths = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, as another life."""
        self._die()
        await super().__call__(scope, receive, send)

    def _die(self) -> None:
        state, before, after = self.state, self._directory / str(self.deaths), self._directory / str(self.deaths + 1)
        shutil.copytree(before, after)
        self.deaths += 1
        state.close()
        shutil.rmtree(before)
        state._changes = Changes()
        started, state.kato = state.kato.started, Kato(state.options, state._changes)
        # By which a client would know that it talks to another process.
        state.kato.started = started
        state._keeper = recall(after, state.kato)


@contextmanager
def reborn(directory: Path, **options: Any) -> Iterator[tuple[str, Reborn]]:
    """One that listens in a thread of this process; yields its address and the application."""
    bound, app, started = listen("127.0.0.1", 0), Reborn(directory, **options), threading.Event()
    server = make_server(app, ready=started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        assert started.wait(10)
        yield base_url(bound), app
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()
        with suppress(AttributeError):
            app.state.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own, reborn(Path(own)) as (url, _app), suppress(KeyboardInterrupt):
        print(url, flush=True)
        signal.pause()

"""Long work beside the app: keys never wait for it, and neither does quitting."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from textual.app import App

from gradpm.errors import GradpmError

Result = TypeVar("Result")
Progress = Callable[[float], None]

_EVERY = 0.1  # seconds between two words about progress


class Superseded(Exception):
    """Raised within a job that nobody waits for any more."""


class Jobs:
    """Jobs by name: a new one makes the old one of its name stop at its next progress.

    Daemon threads, not Textual's workers: those are joined at exit, so that leaving in the
    middle of a long read would take as long as the read.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._newest: dict[str, int] = {}
        self._running = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs."""
        return self._running == 0

    def start(
        self,
        name: str,
        work: Callable[[Progress], Result],
        done: Callable[[Result], None],
        failed: Callable[[str], None],
        progress: Progress | None = None,
    ) -> None:
        """Run `work` in a thread; in the app's thread then `done` with what it returned.

        What is wrong with a file (`GradpmError`, damaged values) goes to `failed` as a
        sentence; any other exception is a bug of ours and ends the app with its traceback.
        """
        mine = self._newest[name] = self._newest.get(name, 0) + 1
        self._running += 1
        told = [0.0]

        def is_wanted() -> bool:
            return self._newest[name] == mine

        def tell(share: float) -> None:
            if not is_wanted():
                raise Superseded
            now = time.monotonic()
            if progress is not None and now - told[0] >= _EVERY:
                told[0] = now
                self._post(lambda: progress(share) if is_wanted() else None)

        def finish(call: Callable[[], None]) -> None:
            self._running -= 1
            if is_wanted():
                call()

        def run() -> None:
            call: Callable[[], None]
            try:
                found = work(tell)
                call = lambda: done(found)  # noqa: E731
            except Superseded:
                call = lambda: None  # noqa: E731
            except GradpmError as error:
                sentence = error.sentence
                call = lambda: failed(sentence)  # noqa: E731
            except re.error as error:
                sentence = f"not a regular expression: {error}"
                call = lambda: failed(sentence)  # noqa: E731
            except Exception as error:
                bug = error
                call = lambda: _raise(bug)  # noqa: E731
            self._post(lambda: finish(call))

        threading.Thread(target=run, name=f"gradpm {name}", daemon=True).start()

    def cancel(self, name: str) -> None:
        """Nobody waits for this job any more."""
        self._newest[name] = self._newest.get(name, 0) + 1

    def _post(self, call: Callable[[], None]) -> None:
        loop = self._app._loop
        if loop is None or loop.is_closed():
            return

        def enter() -> None:
            if self._app.is_running:
                self._app.call_later(call)

        try:
            loop.call_soon_threadsafe(enter)
        except RuntimeError:  # the loop closed between the two lines: the app has gone
            return


def _raise(error: Exception) -> None:
    raise error

"""The app as a process of its own for each piece of work, which may end in the middle as if killed with -9.

Each piece runs in a fork of this process. Stripe stays here and is asked through a pipe, so that a fork which ends at a
failpoint leaves Stripe, the database and the browser as a server that is gone leaves them.
"""

from __future__ import annotations

import contextvars
import gc
import mmap
import os
import signal
from collections import Counter
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

import stripe
from flask import Flask
from werkzeug.test import Client, run_wsgi_app

import failpoints
from extensions import db

T = TypeVar("T")
WORD = 8
UNREACHABLE = "unreachable"


class Ended(Exception):
    """The process ended at a failpoint."""


class Broken(Exception):
    """The process failed in another way than the one that was asked for."""


class Line(stripe.HTTPClient):
    """Stripe's HTTP client: what is asked in a fork is handed on to the process that it was forked from."""

    name = "line"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner
        self.pipe: Connection | None = None

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: Any = None) -> Any:
        if self.pipe is None:
            return self._inner.request(method, url, headers, post_data, _usage=_usage)
        self.pipe.send(("ask", (method, url, dict(headers or {}), post_data)))
        answer = self.pipe.recv()
        if answer == UNREACHABLE:
            raise stripe.APIConnectionError("Stripe cannot be reached", should_retry=True)
        return answer

    def answer(self, request: tuple[Any, ...]) -> Any:
        """Ask for a fork; a Stripe that cannot be reached is said in one word, because errors do not travel."""
        try:
            return self.request(*request)
        except stripe.APIConnectionError:
            return UNREACHABLE

    def _sleep_time_seconds(self, *_: Any, **__: Any) -> float:
        return 0.0  # time is simulated here

    def close(self) -> None:
        """There is nothing to close."""


class Forks:
    """Runs the app's work in forks; `plan` says at which hits of which point they end, `seen` counts all hits.

    `deaths` counts the forks that ended since the last `plan`. While `is_calm`, work runs in this process and no point
    is counted.
    """

    def __init__(self, app: Flask, line: Line) -> None:
        self._app, self._line = app, line
        self._hits = mmap.mmap(-1, WORD)  # shared with the forks, so that hits of those that ended count too
        self.point, self.at = "", frozenset[int]()
        self.deaths = 0
        self.is_calm = True
        self.seen: Counter[str] = Counter()

    def plan(self, point: str = "", at: Collection[int] = ()) -> None:
        """Let the forks from now on end at some hits of a point, counted together; at none to only look on."""
        self.point, self.at, self.deaths = point, frozenset(at), 0
        self._hits[:] = bytes(WORD)
        self.seen = Counter()

    def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work and return what it returned; raise Ended when its process did not live to say."""
        if self.is_calm:
            return contextvars.Context().run(self._in_context, work)
        db.session.remove()
        db.engine.dispose()  # no connection may be used on both sides of a fork
        ours, theirs = Pipe()
        child = os.fork()
        if child == 0:
            self._live(theirs, work)
        theirs.close()
        try:
            return self._serve(ours, child)
        finally:
            ours.close()

    def browser(self) -> Client:
        """Return a browser whose every request is a piece of work; its cookies survive the server."""
        return Client(self._respond)

    def _respond(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body, status, headers = self.run(lambda: _answer_of(self._app, environ))
        start_response(status, headers)
        return [body]

    def _in_context(self, work: Callable[[], T]) -> T:
        with self._app.app_context():
            return work()

    def _live(self, pipe: Connection, work: Callable[[], object]) -> None:
        """Be the process: this never returns."""
        gc.disable()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._line.pipe = pipe
        seen: Counter[str] = Counter()
        failpoints.listen(lambda point: self._note(point, seen))
        try:
            said: tuple[Any, ...] = ("done", contextvars.Context().run(self._in_context, work), seen)
        except BaseException as error:
            said = ("broken", f"{type(error).__name__}: {error}", seen)
        try:
            pipe.send(said)
        finally:
            os._exit(0)

    def _note(self, point: str, seen: Counter[str]) -> None:
        seen[point] += 1
        if point != self.point:
            return
        count = int.from_bytes(self._hits[:], "big") + 1
        self._hits[:] = count.to_bytes(WORD, "big")
        if count in self.at:
            os._exit(failpoints.STATUS)

    def _serve(self, pipe: Connection, child: int) -> Any:
        while True:
            try:
                what, *rest = pipe.recv()
            except EOFError:
                break
            if what == "ask":
                pipe.send(self._line.answer(rest[0]))
                continue
            os.waitpid(child, 0)
            self.seen += rest[1]
            if what == "broken":
                raise Broken(rest[0])
            return rest[0]
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != failpoints.STATUS:
            raise Broken(f"the process ended with {os.waitstatus_to_exitcode(status)}")
        self.deaths += 1
        raise Ended(self.point)


def _answer_of(app: Flask, environ: dict[str, Any]) -> tuple[bytes, str, list[tuple[str, str]]]:
    # A request has a context of its own, as in a server.
    body, status, headers = contextvars.Context().run(run_wsgi_app, app.wsgi_app, environ, True)
    return b"".join(body), status, list(headers)

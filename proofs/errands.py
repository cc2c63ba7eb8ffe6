"""Workers and pages as threads of which only one runs at a time: every interleaving can be told, and told again.

An errand runs until it is done or until it calls Stripe and is made to wait there - before its request arrives or
after its answer was made. While it waits, the world goes on. It is resumed later, or killed on the spot.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import stripe
from flask import Flask


class Killed(BaseException):
    """The process is gone: nothing may catch this and tidy up."""


class Errand:
    """One piece of work in a thread of its own, stopped and started by whoever made it."""

    def __init__(self, app: Flask, work: Callable[[], object]) -> None:
        self.is_done = False
        self.is_killed = False
        self.error: Exception | None = None
        self._work, self._app = work, app
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def proceed(self) -> None:
        """Let it go on until it waits again or is done; returns then. Nothing happens when it is done already."""
        if self.is_done:
            return
        self._go.release()
        self._back.acquire()
        if self.is_done:
            self._thread.join()

    def kill(self) -> None:
        """Stop it for good where it stands."""
        self.is_killed = True
        self.proceed()

    def wait_here(self) -> None:
        """Called from inside the work: hand over, and go on when told to."""
        self._back.release()
        self._go.acquire()
        if self.is_killed:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        _here.errand = self
        try:
            with self._app.app_context():
                self._work()
        except Killed:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.is_done = True
            self._back.release()


_here = threading.local()


class SlowLine(stripe.HTTPClient):
    """Hands requests on to another client; those of errands may wait on the way there or back."""

    name = "slow_line"

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner
        self.chance = random.Random(0)  # noqa: S311 - delays, not secrets
        self.slow_percent = 0
        self.requests = 0
        self.waited = 0

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: Any = None) -> Any:
        self.requests += 1
        self._perhaps_wait()
        answer = self._inner.request(method, url, headers, post_data, _usage=_usage)
        self._perhaps_wait()
        return answer

    def _perhaps_wait(self) -> None:
        errand: Errand | None = getattr(_here, "errand", None)
        if errand is not None and self.chance.random() * 100 < self.slow_percent:
            self.waited += 1
            errand.wait_here()

    def _sleep_time_seconds(self, *_: Any, **__: Any) -> float:
        return 0.0  # time is simulated here

    def close(self) -> None:
        """There is nothing to close."""

"""Processes forked from this one, which are killed with -9 in the middle of their work and started again."""

from __future__ import annotations

import contextvars
import os
import random
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Flask

from extensions import db


@dataclass
class Squad:
    """Some processes by name, what each of them does, and how often one was killed."""

    app: Flask
    works: dict[str, Callable[[], object]]
    kills: int = 0
    running: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start all of them."""
        for name in self.works:
            self._start(name)

    def kill_one(self, chance: random.Random) -> None:
        """Kill any of them, whatever it is doing, and start it again."""
        self.reap()
        if not self.running:
            return
        name = chance.choice(sorted(self.running))
        os.kill(self.running[name], signal.SIGKILL)
        os.waitpid(self.running.pop(name), 0)
        self.kills += 1
        self._start(name)

    def reap(self) -> None:
        """Take note of those that have done all their work, and of those that could not."""
        for name, process in list(self.running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            del self.running[name]
            if status:
                self.failed.append(f"{name} ended with {os.waitstatus_to_exitcode(status)}")

    def stop(self) -> None:
        """Kill those that are left."""
        for process in self.running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        self.running.clear()

    def _start(self, name: str) -> None:
        db.session.remove()
        db.engine.dispose()  # no connection may be used on both sides of a fork
        child = os.fork()
        if child:
            self.running[name] = child
            return
        status = 1
        try:
            contextvars.Context().run(self._live, name)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _live(self, name: str) -> None:
        random.seed()
        with self.app.app_context():
            self.works[name]()

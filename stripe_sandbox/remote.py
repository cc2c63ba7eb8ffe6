"""Commands that steer a running sandbox over HTTP: `trigger`, `listen`, `advance`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

import stripe

from stripe_sandbox import trigger

KEY = "sk_test_sandbox"


class Remote:
    """A running sandbox, by its address."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")

    def call(self, path: str, **given: Any) -> dict[str, Any]:
        """Post to the sandbox's own address space; raises `Unreachable` when nobody answers."""
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked by the command line
            f"{self.base_url}/sandbox/{path}",
            data=json.dumps(given).encode(),
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
                result: dict[str, Any] = json.load(answer)
                return result
        except urllib.error.HTTPError as error:
            with error:
                raise Unreachable(json.load(error)["error"]["message"]) from error
        except OSError as error:
            raise Unreachable(f"no sandbox answers at {self.base_url}; start one with `serve`") from error

    def actor(self) -> trigger.Actor:
        client = stripe.StripeClient(KEY, base_addresses={"api": self.base_url})
        submit = trigger.submit_over_http(self.base_url)
        return trigger.Actor(client, submit, lambda seconds: self.call("advance", seconds=seconds))


class Unreachable(Exception):
    """The sandbox did not answer, or refused."""


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def run_trigger(arguments: argparse.Namespace) -> int:
    """Bring about an event on a running sandbox."""
    scenario = trigger.SCENARIOS.get(arguments.event)
    if scenario is None:
        known = "\n".join(f"  {name}" for name in trigger.SCENARIOS)
        say(f"{arguments.event} is not an event that can be triggered. These are:\n{known}")
        return 2
    remote = Remote(arguments.api)
    stripe.enable_telemetry = False
    scenario(remote.actor())
    say(f"Trigger succeeded: {arguments.event}")
    return 0


def run_listen(arguments: argparse.Namespace) -> int:
    """Forward events to a URL until interrupted, and say what becomes of each."""
    remote = Remote(arguments.api)
    events = arguments.events.split(",") if arguments.events else ["*"]
    endpoint = remote.call("listen", url=arguments.forward_to, events=events, secret=arguments.secret)
    if arguments.print_secret:
        say(endpoint["secret"])
        remote.call("unlisten", endpoint=endpoint["id"])
        return 0
    say(f"> Ready! Your webhook signing secret is {endpoint['secret']} (^C to quit)")
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell ignores the first one for what runs in the background
        signal.signal(ending, signal.default_int_handler)
    after = 0
    try:
        while True:
            after = _report(remote, endpoint["id"], after, arguments.forward_to)
            time.sleep(0.3)
    except KeyboardInterrupt:
        _report(remote, endpoint["id"], after, arguments.forward_to)
        remote.call("unlisten", endpoint=endpoint["id"])
        return 0


def _report(remote: Remote, endpoint: str, after: int, url: str) -> int:
    """Say what became of the deliveries since a position; returns the position reached."""
    for made in remote.call("attempts", endpoint=endpoint, after=after)["attempts"]:
        after = made["seq"]
        at = datetime.fromtimestamp(made["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        say(f"{at}   --> {made['type']} [{made['event_id']}]")
        say(f"{at}  <--  [{made['status'] or made['error']}] POST {url} [{made['event_id']}]")
    return after


def run_advance(arguments: argparse.Namespace) -> int:
    """Move a running sandbox's time forward."""
    seconds = arguments.seconds + arguments.hours * 3600 + arguments.days * 86400
    moved = Remote(arguments.api).call("advance", seconds=seconds)
    at = datetime.fromtimestamp(moved["now"]).astimezone()
    say(f"It is now {at:%A, %d %B %Y, %H:%M:%S} in the sandbox.")
    return 0

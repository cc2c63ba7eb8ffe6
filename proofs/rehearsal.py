"""A history told to the shop: people act, webhooks arrive anyhow, workers and pages are slow and are killed.

This is what the faulty handlers are caught by (proofs/faulty_handlers.py) and what convergence is proved with
(proofs/convergence.py). It is deterministic: one thread runs at a time, and time moves only when told to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from billing import outcomes, sync
from proofs.errands import Errand
from proofs.shop import Shop
from proofs.stripe_oracle import Verdict

LEASE_SECONDS = 25
MOST_PARKED = 4
MOST_ROUNDS = 5
WORK_BETWEEN = 0.3


@dataclass
class Rehearsal:
    """One history and what it counted."""

    shop: Shop
    kill_percent: int = 20
    api_trouble_percent: int = 0
    parked: list[Errand] = field(default_factory=list)
    errands: int = 0
    kills: int = 0

    def play(self, steps: int, *, people: int, slow_percent: int = 20) -> Verdict:
        """Let so many things happen, bring everything to rest, and compare with Stripe."""
        shop = self.shop
        shop.crowd.join(people)
        shop.line.slow_percent = slow_percent
        if self.api_trouble_percent:
            shop.sandbox.break_api("500", share=self.api_trouble_percent)
        for _ in range(steps):
            self._step()
        self.come_to_rest()
        return shop.judge()

    def _step(self) -> None:
        chance = self.shop.crowd.chance
        action = chance.choices(
            [
                self._people_act,
                self._webhooks_arrive,
                self._work,
                self._page,
                self._go_on,
                self._kill,
                self._time_passes,
            ],
            [6, 5, 7, 1, 3, 1, 1],
        )[0]
        action()
        while len(self.parked) > MOST_PARKED:
            self._go_on()

    def _people_act(self) -> None:
        self._untroubled(self.shop.crowd.act)
        self._untroubled(self.shop.postman.collect)

    def _catch_up(self) -> None:
        """Let everything arrive, now and then, with work in between: what is lost here is news that nobody repeats."""
        for _ in range(MOST_ROUNDS):
            for _ in range(len(self.shop.postman.bag)):
                self.shop.postman.deliver_some(1)
                if self.shop.crowd.chance.random() < WORK_BETWEEN:
                    self._work()
        self._work_off()

    def _webhooks_arrive(self) -> None:
        self.shop.postman.deliver_some(self.shop.crowd.chance.randint(1, 3))

    def _work(self) -> None:
        self._start(sync.run_due)

    def _page(self) -> None:
        if self.shop.crowd.sessions:
            session_id = self.shop.crowd.chance.choice(self.shop.crowd.sessions)
            self._start(lambda: outcomes.bring_in_line(session_id))

    def _start(self, work: object) -> None:
        self.errands += 1
        self._continue(Errand(self.shop.place.app, work))  # type: ignore[arg-type]

    def _go_on(self) -> None:
        if self.parked:
            self._continue(self.parked.pop(self.shop.crowd.chance.randrange(len(self.parked))))

    def _continue(self, errand: Errand) -> None:
        errand.proceed()
        if not errand.is_done:
            self.parked.append(errand)
        elif errand.error is not None:
            raise errand.error

    def _kill(self) -> None:
        if self.parked:
            self.kills += 1
            self.parked.pop(self.shop.crowd.chance.randrange(len(self.parked))).kill()

    def _time_passes(self) -> None:
        self.shop.advance(self.shop.crowd.chance.choice([1, 5, LEASE_SECONDS]))

    def _untroubled(self, action: object) -> None:
        """Let the outside world act without the faults that are meant for the app."""
        faults, self.shop.sandbox.faults.api = self.shop.sandbox.faults.api, []
        try:
            action()  # type: ignore[operator]
        finally:
            self.shop.sandbox.faults.api = faults

    def come_to_rest(self) -> None:
        """Heal Stripe, deliver what is left, and work until nothing is known to be out of line."""
        shop = self.shop
        shop.sandbox.heal()
        for _ in range(3):
            shop.advance(3700)  # what falls due at Stripe: refunds that fail, disputes that are decided
            shop.postman.collect()
            self._catch_up()
        while self.parked:
            self._go_on()
        self._work_off(is_last=True)

    def _work_off(self, *, is_last: bool = False) -> None:
        slow, self.shop.line.slow_percent = self.shop.line.slow_percent, 0
        for _ in range(60):
            while sync.run_due():
                pass
            if not is_last or self.shop.is_at_rest():
                break
            self.shop.advance(300)
        self.shop.line.slow_percent = slow

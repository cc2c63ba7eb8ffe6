"""A history told to the shop: people act, webhooks arrive anyhow, workers and pages are slow and are killed.

This is what the faulty handlers are caught by (proofs/faulty_handlers.py) and what convergence is proved with
(proofs/convergence.py). It is deterministic: one thread runs at a time, and time moves only when told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from billing import outcomes, sync
from proofs.customers import CARD, REFUND_FAILS_CARD
from proofs.errands import Errand
from proofs.shop import Shop
from proofs.stripe_oracle import Verdict

LEASE_SECONDS = 25
MOST_PARKED = 4
MOST_ROUNDS = 5
WORK_BETWEEN = 0.3
DEATHS = 0.4
READERS = 8


@dataclass
class Rehearsal:
    """One history and what it counted."""

    shop: Shop
    api_trouble_percent: int = 0
    parked: list[Errand] = field(default_factory=list)
    started: list[Errand] = field(default_factory=list)
    kills: int = 0

    def play(self, steps: int, *, people: int, slow_percent: int = 20) -> Verdict:
        """Let so many things happen, bring everything to rest, and compare with Stripe."""
        shop = self.shop
        shop.crowd.join(people)
        shop.line.slow_percent = slow_percent
        if self.api_trouble_percent:
            shop.sandbox.break_api("500", share=self.api_trouble_percent)
        try:
            for _ in range(steps):
                self._step()
            self.come_to_rest()
        finally:
            for errand in self.started:
                errand.kill()
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

    def _overtake(self) -> None:
        subscription = self.shop.crowd.live_subscription()
        if subscription is not None:
            dies = self.shop.crowd.chance.random() < DEATHS
            self._scene_of_two_workers(lambda: self._change(subscription["id"]), dies=dies)

    def _scene_of_two_workers(self, change: Callable[[], object], *, dies: bool) -> None:
        """Let a slow worker read a change and a fast one the next, so that the older answer arrives last - or never."""
        self._rest()
        line = self.shop.line
        usual, line.slow_percent = line.slow_percent, 100
        change()
        slow = self._errand(sync.run_due)
        slow.proceed()  # to where its request has not arrived yet
        if dies and not slow.is_done:
            self.kills += 1
            slow.kill()
        else:
            slow.proceed()  # and to where its answer is under way
            change()
        self.shop.advance(LEASE_SECONDS)
        self._untroubled(self._work_off)
        line.slow_percent = 0
        while not slow.is_done:
            slow.proceed()
        line.slow_percent = usual

    def _scene_of_two_invoices(self) -> None:
        """Let a subscription be bought and upgraded, and all that it made be read before any of it is written down."""
        crowd, line = self.shop.crowd, self.shop.line
        self._rest()
        crowd.upgrade(self._somebody_subscribes())
        self.shop.postman.collect()
        self.shop.postman.deliver_some(len(self.shop.postman.bag))
        line.slow_percent = 100
        readers = [self._errand(sync.run_due) for _ in range(READERS)]
        for _ in range(2):
            for reader in readers:
                if not reader.is_done:
                    reader.proceed()
        line.slow_percent = 0
        crowd.chance.shuffle(readers)
        for reader in readers:
            while not reader.is_done:
                reader.proceed()

    def _rest(self) -> None:
        while self.parked:
            self._go_on()
        for _ in range(MOST_ROUNDS):
            self.shop.postman.deliver_some(len(self.shop.postman.bag))
        self._untroubled(lambda: self._work_off(is_last=True))

    def _change(self, subscription_id: str) -> None:
        self._untroubled(lambda: self.shop.crowd.toggle(subscription_id))
        self._untroubled(self.shop.postman.collect)
        self.shop.postman.deliver_some(len(self.shop.postman.bag))

    def _webhooks_arrive(self) -> None:
        self.shop.postman.deliver_some(self.shop.crowd.chance.randint(1, 3))

    def _work(self) -> None:
        self._start(sync.run_due)

    def _page(self) -> None:
        if self.shop.crowd.sessions:
            session_id = self.shop.crowd.chance.choice(self.shop.crowd.sessions)
            self._start(lambda: outcomes.bring_in_line(session_id))

    def _start(self, work: Callable[[], object]) -> None:
        self._continue(self._errand(work))

    def _errand(self, work: Callable[[], object]) -> Errand:
        self.started.append(Errand(self.shop.place.app, work))
        return self.started[-1]

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

    def _untroubled(self, action: Callable[[], object]) -> None:
        """Let the outside world act without the faults that are meant for the app."""
        faults, self.shop.sandbox.faults.api = self.shop.sandbox.faults.api, []
        try:
            action()
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
        self._last_scenes()

    def _last_scenes(self) -> None:
        """Play what the chances may have left out, when nothing follows that would make up for what goes wrong."""
        for dies in (False, True):
            subscription_id = self._somebody_subscribes()
            self._scene_of_two_workers(lambda its=subscription_id: self._change(its), dies=dies)  # type: ignore[misc]
        self._scene_of_two_refunds()
        self._scene_of_news_during_the_fetch(self._somebody_subscribes())
        self._scene_of_one_second(self._somebody_subscribes())
        self._scene_of_a_failure(self._somebody_subscribes())
        self._scene_of_two_invoices()
        self._scene_of_a_refund_that_fails()
        self._rest()

    def _somebody_subscribes(self) -> str:
        crowd = self.shop.crowd
        crowd.join(1)
        crowd.subscribe(crowd.accounts[-1])
        self.shop.postman.collect()
        (subscription,) = crowd.client.v1.subscriptions.list({"limit": 1}).data
        return subscription.id

    def _scene_of_news_during_the_fetch(self, subscription_id: str) -> None:
        self._rest()
        self.shop.line.slow_percent = 100
        self._change(subscription_id)
        slow = self._errand(sync.run_due)
        slow.proceed()
        slow.proceed()
        self._change(subscription_id)
        self.shop.line.slow_percent = 0
        while not slow.is_done:
            slow.proceed()
        self._work_off()

    def _scene_of_one_second(self, subscription_id: str) -> None:
        """Let a second change follow in the second of the first, after the first was brought in line."""
        self._rest()
        for _ in range(2):
            self._change(subscription_id)
            self._work_off()

    def _scene_of_a_failure(self, subscription_id: str) -> None:
        self._rest()
        self._change(subscription_id)
        self.shop.sandbox.break_api("500", path=f"/v1/subscriptions/{subscription_id}")
        self._work_off()
        self.shop.sandbox.heal()

    def _scene_of_two_refunds(self) -> None:
        """Let the first half of a purchase's money be heard of after the second."""
        crowd = self.shop.crowd
        crowd.join(1)
        crowd.buy(crowd.accounts[-1], "credits_30", CARD)
        self.shop.postman.collect()
        (charge,) = crowd.client.v1.charges.list({"limit": 1}).data

        def refund() -> None:
            self._untroubled(lambda: crowd.client.v1.refunds.create({"charge": charge.id, "amount": 1000}))
            self.shop.postman.collect()
            self.shop.postman.deliver_some(len(self.shop.postman.bag))

        self._scene_of_two_workers(refund, dies=False)

    def _scene_of_a_refund_that_fails(self) -> None:
        """Let money go back, be heard of, and come again because the bank refused it."""
        crowd = self.shop.crowd
        crowd.join(1)
        crowd.buy(crowd.accounts[-1], "credits_30", REFUND_FAILS_CARD)
        (charge,) = crowd.client.v1.charges.list({"limit": 1}).data
        crowd.client.v1.refunds.create({"charge": charge.id})
        for _ in range(2):
            self.shop.postman.collect()
            self._rest()
            self.shop.advance(3700)
        self.shop.postman.collect()

    def _work_off(self, *, is_last: bool = False) -> None:
        slow, self.shop.line.slow_percent = self.shop.line.slow_percent, 0
        for _ in range(60):
            while sync.run_due():
                pass
            if not is_last or self.shop.is_at_rest():
                break
            self.shop.advance(300)
        self.shop.line.slow_percent = slow

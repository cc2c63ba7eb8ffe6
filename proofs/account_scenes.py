"""Scenes about a person's own settings, beside those of proofs/crash_scenes.py: what else ends while they change."""

from __future__ import annotations

from collections.abc import Iterator

from proofs.crash_scenes import _demand, _promised, scene
from proofs.crash_world import World

ASK = "/settings/email"


@scene()
def change_the_address(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    new = f"new-{ann.email}"
    fields = ann.form(ASK, email=new)
    yield
    ann.send(ASK, fields)
    world.settle()
    link = world.link_in(world.letters(new)[-1])
    ann.send(link, ann.form(link))
    world.settle()
    yield
    _demand(world.shop.client.v1.customers.retrieve(ann.customer()).email == new, "Stripe was not told of it")
    _demand(_promised(ann, "email_changed") == 1, "the old address was not told once")

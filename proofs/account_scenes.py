"""Scenes about a person's own settings, beside those of proofs/crash_scenes.py: what else ends while they change."""

from __future__ import annotations

from collections.abc import Iterator

from proofs.crash_scenes import _demand, _promised, scene
from proofs.crash_world import World

ASK, END = "/settings/email", "/settings/delete"


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


@scene(by_stripe=False)  # Stripe lists nothing of a customer who is deleted
def delete_the_account(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    customer, charge = ann.customer(), world.shop.sandbox.events("charge.succeeded")[-1]["data"]["object"]["id"]
    with world.calm():
        ann.order("credits_12")  # a checkout that nobody comes back to
    fields = ann.form(END, agree="y")
    yield
    ann.send(END, fields)
    world.settle()
    world.shop.client.v1.refunds.create({"charge": charge})
    world.settle()
    yield
    _demand(getattr(world.shop.client.v1.customers.retrieve(customer), "deleted", False), "Stripe still has a customer")
    waiting = world.shop.client.v1.checkout.sessions.list({"customer": customer, "status": "open"}).data
    _demand(waiting == [], "a checkout can still be paid")
    _demand(ann.look("/settings").status_code == 303, "they are still signed in")
    farewells = [letter for letter in world.letters(ann.email) if "is deleted" in letter.subject]
    _demand(len({letter.message_id for letter in farewells}) == 1, "the end was not confirmed by one mail")

"""Billing behaviour: what Stripe does with the objects, as functions on a `World`."""

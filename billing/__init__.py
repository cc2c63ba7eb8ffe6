"""Money: the catalogue, the only module that talks to Stripe, checkout, subscriptions, payments, sync."""

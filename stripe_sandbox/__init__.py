"""A faithful local Stripe: the installed SDK's API, hosted pages, signed webhooks and a movable clock."""

__version__ = "1.0.0"

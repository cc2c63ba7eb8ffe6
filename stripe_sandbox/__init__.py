"""A faithful local Stripe: the API of the installed SDK's version, hosted pages, signed webhooks and a movable clock."""

__version__ = "1.0.0"

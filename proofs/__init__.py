"""Attempts to lose or invent something, counted; each prints its seeds, what it tried, and "0 of N"."""

"""The demo product: reads a CV and says what is good, what is missing and what to do next.

The reading is pure: text in, report out. Only `models` and `archive` know a database. To make room for a product of
your own, delete this package, `blueprints/reports/`, `templates/reports/`, `tests/checker/` and `tests/reports/`.
"""

"""The demo product: reads a CV and says what is good, what is missing and what to do next; pure, it knows no web.

Delete this package, `blueprints/reports.py` and `templates/reports/` to make room for a product of your own.
"""

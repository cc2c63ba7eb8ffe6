"""The test suite; `python -m tests` runs all of it on every database that is there."""

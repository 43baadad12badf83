"""The proof of the promises in `docs/reliability.md`: load, faults at random, and an oracle outside the system.

`python -m tests.chaos --help` runs it; `test_short.py` is the short form.
"""

"""The bars of the reliability issue, in full: `python -m pytest tests/heavy/bar_*.py -s`. Their short forms are in `make test`.

A scenario is a function of its numbers, in a module of its own; `bar_*.py` runs it in full and prints its figures. These files are
not named `test_*.py`, so that only who names them runs them.
"""

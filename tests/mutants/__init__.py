"""Mutants: the tree with one guard removed, and whether a test notices. `python -m tests.mutants`."""

"""Pools: kinds of machines (docs/decisions/0016-pools.md)."""

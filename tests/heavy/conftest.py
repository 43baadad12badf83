"""The stack of the acceptance tests, and their small disk."""

from tests.acceptance.conftest import disk, make_stack

__all__ = ["disk", "make_stack"]

"""The stack of the acceptance tests."""

from tests.acceptance.conftest import make_stack

__all__ = ["make_stack"]

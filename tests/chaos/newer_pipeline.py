"""A pipeline that only a part of the fleet knows: the other workers are of the version before it."""

from tests.chaos.pipeline import chaos

NEWER = chaos("chaos-newer", "The same, for workers of the newer version.")

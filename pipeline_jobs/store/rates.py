"""Who sends a new job, as far as rates and Idempotency-Keys are concerned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

#: Seconds: the longest time to fill up that is told of a rate near zero.
MONTH = 2592000


class Rate(NamedTuple):
    """A submit rate that a new job was held against."""

    #: `tenant`, `key` or `address`.
    name: str
    #: Jobs a second.
    per_second: float
    #: How many more may be sent now.
    left: int
    #: Seconds until as many may be sent as ever, at least 1.
    reset: int

    @classmethod
    def read(cls, text: str) -> tuple[Rate, ...]:
        """From what the accepting scripts return: name, jobs a second, left (below 0: a debt), ..."""
        flat = text.split()
        return tuple([cls._of(flat[i], float(flat[i + 1]), float(flat[i + 2])) for i in range(0, len(flat), 3)])

    @classmethod
    def _of(cls, name: str, per_second: float, left: float) -> Rate:
        seconds = (max(1.0, per_second) - left) / per_second if per_second > 0 else MONTH
        return cls(name, per_second, max(0, math.floor(left)), max(1, math.ceil(min(seconds, MONTH))))

    @property
    def quota(self) -> int:
        """Most at once."""
        return max(1, int(self.per_second))

    @property
    def window(self) -> int:
        """Seconds in which the quota comes back."""
        return max(1, math.ceil(self.quota / self.per_second)) if self.per_second > 0 else 3600


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a request for a job."""

    #: Whose rate counts besides the tenant's: `key:<id>` or `address:<ip>`; empty (Python, the command line): nobody's.
    principal: str = ""
    #: Within which its Idempotency-Key is one of a kind, besides the tenant: the route, and the workspace that the caller is bound to. So
    #: nobody learns of a key that belongs to jobs they may not see.
    scope: str = ""

"""Who may be before a newcomer, by rule 3 of `docs/fairness.md`: the part of the oracle that all models with random histories share.

A newcomer is next, before all that were served; of several the one that came first is next, and who comes back is one, if the present is
beyond its clock (the models know no clocks). So whoever came before somebody who was never served may be before it once, however few slots
there are. That `a` and `b`, served before, came back before `new` came, and that both were served before it on one slot, was once taken
for a broken promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable


class Newcomers:
    """Who came before whom, as far as it may be seen from outside."""

    def __init__(self) -> None:
        self.served: set[str] = set()
        #: Whose last dispatch or run was lost: it is refunded what it was charged, and may be served again at once.
        self.refunded: set[str] = set()
        #: Of who was never served, and had a job that might start: how many starts there were meanwhile, beside those that were before it
        #: by the rule; how many there may be; who may be before it once.
        self.behind: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()
        self.ahead: dict[str, set[str]] = {}
        #: Who came, and was not served since.
        self.fresh: set[str] = set()
        #: Who had a job that might start when it was last looked; and who had one that might but for the limit of its pipeline.
        self.could: set[str] = set()
        self.asked: set[str] = set()

    def look(self, could: Collection[str], asked: Collection[str], slots: int, *, in_one_ring: bool = True) -> None:
        """Called after each script, before what it started is counted.

        :param could: tenants with a job that might start.
        :param asked: those whose turn may come, though nothing of theirs may start: whoever comes for a full pipeline has its place from
            then on.
        :param slots: how many there are.
        :param in_one_ring: where there are several classes of workers, who waits for a busy one comes back as well when that has a slot.
        """
        self.fresh |= (set(could) - self.could) | (set(asked) - self.asked)
        new = set(could) - self.served
        for tenant in new - self.ahead.keys():
            self.ahead[tenant] = (self.fresh if in_one_ring else {*self.served, *self.ahead, *asked}) - {tenant}
        for tenant in new:
            self.allowed[tenant] = max(self.allowed[tenant], 1, slots)
        self.could.update(could)
        self.asked.update(asked)

    def have_gone(self, could: Iterable[str], asked: Iterable[str]) -> None:
        """Called after each script, after what it started was counted: whoever has nothing to start any more would come back.

        :param could: as in `look`.
        :param asked: as in `look`.
        """
        self.could, self.asked = set(could), set(asked)

    def was_served(self, tenant: str) -> None:
        self.served.add(tenant)
        self.fresh.discard(tenant)
        for others in self.ahead.values():
            others.discard(tenant)

    def were_passed(self, by: str, could: Iterable[str]) -> None:
        """A job of `by` was started, while all these had one that might have been: called before `was_served`."""
        for tenant in set(could) - self.served - {by}:
            if by not in self.ahead.get(tenant, ()) and by not in self.refunded:
                self.behind[tenant] += 1

    def were_next(self) -> None:
        """They are the very next, but for one that comes as another takes up the room of its pipeline.

        :raises AssertionError: somebody was behind more starts than there were slots.
        """
        for tenant, starts in self.behind.items():
            assert starts <= self.allowed[tenant], (tenant, starts, self.behind, self.allowed, self.ahead)

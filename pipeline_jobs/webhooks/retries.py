"""When a delivery is tried again: the table, its jitter, `Retry-After`, and what each answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline_jobs.webhooks.post import Answer

#: Each wait of the table is stretched or shortened by up to this share, so that what failed together does not come again together.
JITTER = 0.1
#: Longest `Retry-After` that is obeyed, in seconds.
MOST_RETRY_AFTER = 86_400.0
#: An answer that took longer counts as slow.
SLOW_SECONDS = 2.0
#: Errors of a message that no try can make any more: what it is made of is gone, or damaged.
PAYLOAD_LOST, PAYLOAD_BROKEN = "payload_lost", "payload_broken"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a try's answer means: `delivered`, `retry` (after so many seconds), `dead` (it was the last) or `gone`."""

    outcome: str
    delay: float = 0.0


def verdict(answer: Answer, tries: int, table: Sequence[float], random: Callable[[], float]) -> Verdict:
    """What a try's answer means for its delivery.

    :param tries: how many there were, this one among them.
    :param table: seconds to wait after each failed try; after one more try than it has entries the delivery is dead.
    :param random: gives 0..1.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict("delivered")
    if answer.status == 410:
        return Verdict("gone")
    if tries > len(table) or answer.error in (PAYLOAD_LOST, PAYLOAD_BROKEN):
        return Verdict("dead")
    delay = table[tries - 1] * (1 + JITTER * (2 * random() - 1))
    if answer.status in (429, 503) and answer.retry_after is not None:
        # Not before the time that was asked for; a little after it, so that not all come at the same moment.
        delay = max(delay, min(answer.retry_after, MOST_RETRY_AFTER) * (1 + JITTER * random()))
    return Verdict("retry", delay)

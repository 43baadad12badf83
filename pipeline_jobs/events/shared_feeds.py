"""Reads feeds for the streams of a process: those of one tenant that are as far as each other are served by one look.

A tenant may follow a hundred of its workflows. A look of each of them at each event of the tenant costs the server more than the events do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline_jobs.events.log import FeedPage, Place, feed_many
from pipeline_jobs.store.store import Store

#: A tenant, one of its workspaces or "", one of its batches or "", and the place after which to begin.
Asked = tuple[str, str, str, Place]


def read_feeds(store: Store, asked: Sequence[Asked], alone: Sequence[bool], limit: int) -> list[FeedPage]:
    """A page of each. One that shares a look is not told that its batch is gone.

    :param alone: of each, whether it has a look of its own.
    """
    together = Counter((one[0], one[3]) for one, is_alone in zip(asked, alone, strict=True) if not is_alone)
    looks = [
        one if is_alone or together[one[0], one[3]] < 2 else (one[0], "", "", one[3]) for one, is_alone in zip(asked, alone, strict=True)
    ]
    each = list(dict.fromkeys(looks))
    pages = dict(zip(each, feed_many(store, each, limit), strict=True))
    return [pages[look] if look == one else pages[look].narrowed(one[1], one[2]) for one, look in zip(asked, looks, strict=True)]

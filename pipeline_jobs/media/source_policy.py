"""Which addresses media may be fetched from, by the table that all outgoing requests share.

The direct download (`download.py`) asks it for every connection through ssrfguard's session; the child that runs
yt-dlp (`site_child.py`) asks it from an audit hook.
"""

from __future__ import annotations

from functools import lru_cache

from ssrfguard import Policy

from pipeline_jobs.urls import PRIVATE, PUBLIC_PORTS, TABLE


@lru_cache(maxsize=2)
def policy(allow_private: bool) -> Policy:
    """The policy for sources of media; with `allow_private`, private and loopback addresses on any port too."""
    if allow_private:
        return Policy(denied_networks=TABLE, allowed_networks=PRIVATE, allowed_ports=frozenset(range(1, 65536)))
    return Policy(denied_networks=TABLE, allowed_ports=PUBLIC_PORTS)

"""Which addresses media may be fetched from: ssrfguard's table of the IANA registries, with what it lacks.

The direct download (`download.py`) asks it for every connection through ssrfguard's session; the child that runs
yt-dlp (`site_child.py`) asks it from an audit hook.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, Policy, Reach

#: A public address by the registries, but inside Azure it is the host's own service.
_AZURE_HOST = Block(ip_network("168.63.129.16/32"), "Azure host service", "learn.microsoft.com", Reach.DENIED)
_TABLE = AddressTable((*DEFAULT_DENIED.blocks, _AZURE_HOST), snapshot=DEFAULT_DENIED.snapshot)

#: Where the public serves media; anything else is more likely a service that should not be talked to in HTTP.
_PUBLIC_PORTS = frozenset({80, 443, 8000, 8080, 8443})

#: What `allow_private_urls` opens: this machine and private networks. Link-local (the clouds' metadata services),
#: multicast and translation prefixes stay closed.
_PRIVATE = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)


@lru_cache(maxsize=2)
def policy(allow_private: bool) -> Policy:
    """The policy for sources of media; with `allow_private`, private and loopback addresses on any port too."""
    if allow_private:
        return Policy(denied_networks=_TABLE, allowed_networks=_PRIVATE, allowed_ports=frozenset(range(1, 65536)))
    return Policy(denied_networks=_TABLE, allowed_ports=_PUBLIC_PORTS)

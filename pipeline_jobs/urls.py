"""Which addresses others may make us talk to: ssrfguard's table of the IANA registries, with what it lacks. For media and webhooks."""

from __future__ import annotations

from ipaddress import ip_network

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, Reach

#: A public address by the registries, but inside Azure it is the host's own service.
_AZURE_HOST = Block(ip_network("168.63.129.16/32"), "Azure host service", "learn.microsoft.com", Reach.DENIED)
#: IPv4 carried in IPv6 by stateless translation; in no registry of special addresses, and a translator makes any address of it.
_TRANSLATED = Block(ip_network("::ffff:0:0:0/96"), "IPv4-translated address", "RFC 2765, section 2.1", Reach.DENIED)
TABLE = AddressTable((*DEFAULT_DENIED.blocks, _AZURE_HOST, _TRANSLATED), snapshot=DEFAULT_DENIED.snapshot)

#: Where the public serves HTTP; anything else is more likely a service that should not be talked to in HTTP.
PUBLIC_PORTS = frozenset({80, 443, 8000, 8080, 8443})

#: What a setting may open: this machine and private networks. Link-local (the clouds' metadata services), multicast and translation
#: prefixes stay closed.
PRIVATE = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)

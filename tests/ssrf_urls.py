"""URLs that lead, or try to lead, where nobody from outside may send us: one corpus for media and for webhooks.

`urls(port)` are those that say where they go themselves: each writes this machine, a private network or a cloud's metadata service in some
way that one parser or another reads so. `NAMES` are names with what a hostile name server answers, `REBINDING` those with another answer
the second time, `redirects(port)` where a harmless server may redirect to.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from itertools import product

Answers = list[tuple[int, int, int, str, tuple[str, int]]]

#: What is never to be reached, as plain addresses: this host, private networks, link-local (metadata), shared, multicast, reserved.
ADDRESSES = (
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1",
    "172.31.255.254", "192.168.0.1", "192.168.255.255", "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.64.0.1", "100.100.100.200",
    "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
)  # fmt: skip
#: The ones that are worth writing in every odd way.
_WORTH = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "0.0.0.0")
IPV6 = (
    "::1", "::", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "fe80::1", "fe80::1%25lo", "fe80::1%lo", "fc00::1",
    "fd00:ec2::254", "fd12:3456:789a::1", "ff02::1", "ff05::1:3", "fec0::1", "2001:db8::1", "100::1", "2001::1", "2001:10::1",
    "5f00::1", "3fff::1",
)  # fmt: skip
_DIGITS = (str.maketrans("0123456789.", "０１２３４５６７８９．"), str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨"))
_DOTS = ("。", "．", "｡", "%2e", "%2E", "․")
_LOCAL_NAMES = (
    "localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback",
    "foo.localhost", "metadata.google.internal", "metadata.google.internal.", "metadata", "instance-data",
    "instance-data.ec2.internal", "kubernetes.default.svc",
    "host.docker.internal", "router.local", "broadcasthost", "ⓛocalhost", "localhoſt", "loc%61lhost", "local\u00adhost", "127.0.0.1.",
)  # fmt: skip


def _numbers(address: str) -> Iterator[str]:
    """Every way in which `inet_aton` reads this address."""
    a, b, c, d = (int(part) for part in address.split("."))
    whole = (a << 24) | (b << 16) | (c << 8) | d
    yield from (str(whole), hex(whole), hex(whole).upper().replace("X", "x"), f"0{whole:o}", f"0000{whole:o}")
    yield from (f"{a}.{whole & 0xFFFFFF}", f"{a}.{b}.{whole & 0xFFFF}")
    for write in (hex, lambda n: f"0{n:o}", lambda n: f"0000{n:o}", lambda n: f"0x{n:08x}", lambda n: f"{n:03d}"):
        yield ".".join(write(part) for part in (a, b, c, d))
    yield f"{hex(a)}.{b}.{c}.0{d:o}"
    yield f"{a + 256}.{b}.{c}.{d}"
    yield str(whole + 2**32)


def _inside_ipv6(address: str) -> Iterator[str]:
    """IPv4 carried in IPv6: mapped, compatible, translated, NAT64, local NAT64, 6to4, ISATAP."""
    a, b, c, d = (int(part) for part in address.split("."))
    high, low = f"{a << 8 | b:x}", f"{c << 8 | d:x}"
    yield from (f"::ffff:{address}", f"::ffff:{high}:{low}", f"0:0:0:0:0:ffff:{address}", f"::{address}", f"::{high}:{low}")
    yield from (f"::ffff:0:{address}", f"64:ff9b::{address}", f"64:ff9b::{high}:{low}", f"64:ff9b:1::{address}", f"2002:{high}:{low}::")
    yield from (f"2002:{high}:{low}::1", f"fe80::5efe:{address}")


def _hosts() -> Iterator[str]:
    yield from ADDRESSES
    for address in _WORTH:
        yield from _numbers(address)
        yield from (f"[{text}]" for text in _inside_ipv6(address))
        yield from (address.translate(table) for table in _DIGITS)
        yield from (address.replace(".", dot) for dot in _DOTS)
    yield from (f"[{address}]" for address in IPV6)
    yield from _LOCAL_NAMES


def _authorities(port: int) -> Iterator[str]:
    """User names that look like hosts, and the places where parsers part."""
    here = f"127.0.0.1:{port}"
    for who, seam in product(
        ("example.com", "example.com:443", "user:pass", "%65xample.com"), ("@", "%40@", "#@", "\\@", "?@", "/@", ";@", "&@")
    ):
        yield f"{who}{seam}{here}"
    yield from (
        f"{here}#@example.com",
        f"{here}\\@example.com",
        f"{here}%23@example.com",
        f"{here}%00.example.com",
        f"{here}%0d%0a.example.com",
    )
    yield from (
        f"127.0.0.1:{port}:80",
        f"127.0.0.1:+{port}",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "127.0.0.1:",
        "127.0.0.1:２２",
        "[::1",
        "::1]",
        "[]",
    )
    yield from (
        f" {here}",
        f"{here} ",
        f"\t{here}",
        f"127.0.0.1\t:{port}",
        f"127.0.0.1\n:{port}",
        f"127.0.0.1\r\nHost: x\r\n:{port}",
        f"\x00{here}",
    )


def urls(port: int) -> list[str]:
    """Every URL once; where it names a port, this one."""
    found = [f"{scheme}://{host}:{port}/" for host in _hosts() for scheme in ("http", "https")]
    found += [f"http://{authority}/" for authority in _authorities(port)]
    here = f"127.0.0.1:{port}"
    found += [
        f"{scheme}://{here}/"
        for scheme in ("file", "ftp", "gopher", "dict", "ldap", "tftp", "jar", "data", "ws", "HTTP", "hTTp", "unix", "")
    ]
    found += [
        f"http:{here}/", f"http:/{here}/", f"http:///{here}/", f"http:\\\\{here}\\", f"//{here}/", here, f"http://{here}\\@example.com/",
        f"http://{here}/\r\nX-Injected: 1", f"http://{here}/ HTTP/1.1\r\nHost: x\r\n\r\nGET /second", f"http://{here}/\u0000", "http://", "https://",
        "http://.", "http://..", "http://...", "http://?", "http://#", "http:// ", "http://\u200b127.0.0.1/", "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd", f"http://{'a' * 300}.example/", f"url:http://{here}/", f"view-source:http://{here}/",
    ]  # fmt: skip
    return list(dict.fromkeys(found))


#: Names that a hostile name server answers like this, each time.
NAMES: dict[str, tuple[str, ...]] = {
    **{f"a{number}.rebind.example": (address,) for number, address in enumerate((*ADDRESSES, *(a for a in IPV6 if "%" not in a)))},
    # One of them is public: which one is connected to is chance, so the name is refused as a whole.
    "both.rebind.example": ("93.184.216.34", "127.0.0.1"),
    "both6.rebind.example": ("2606:2800:220:1:248:1893:25c8:1946", "::1"),
    "last.rebind.example": ("93.184.216.34", "8.8.8.8", "1.1.1.1", "169.254.169.254"),
    "mapped.rebind.example": ("::ffff:127.0.0.1",),
    "nat64.rebind.example": ("64:ff9b::7f00:1",),
    "127.0.0.1.nip.example": ("127.0.0.1",),
    "localhost.rebind.example": ("127.0.0.1", "::1"),
}

#: Names whose first answer is public and whose second is not: who looks twice is led on.
REBINDING: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "turns.rebind.example": (("93.184.216.34",), ("127.0.0.1",)),
    "turns6.rebind.example": (("2606:2800:220:1:248:1893:25c8:1946",), ("::1",)),
    "metadata.rebind.example": (("93.184.216.34",), ("169.254.169.254",)),
}


def redirects(port: int) -> list[str]:
    """Where a server that may be talked to redirects to: `Location` headers."""
    here = f"127.0.0.1:{port}"
    return [
        f"http://{here}/", f"//{here}/", f"http://[::1]:{port}/", f"http://2130706433:{port}/", f"http://0x7f000001:{port}/",
        f"http://localhost:{port}/", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", f"gopher://{here}/_x",
        f"http://user@{here}/", f"http://[::ffff:127.0.0.1]:{port}/", f"https://{here}/",
    ]  # fmt: skip


def addresses_of(name: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a hostile name server answers: of an address that address, of a name that is not known to it this machine."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in name else socket.AF_INET, name.partition("%")[0])
        return (name,)
    except OSError:
        return known.get(name.rstrip("."), ("127.0.0.1",))


def answers(addresses: tuple[str, ...], port: int) -> Answers:
    """As `socket.getaddrinfo` gives them."""
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
    return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in zip(families, addresses, strict=True)]

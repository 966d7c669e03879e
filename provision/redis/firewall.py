"""Who may reach Redis' port: the addresses that its host lets in, and who would be cut off by them. Pure.

An app host is let in by the address that Redis sees, which is not always its own (NAT). What Redis has seen goes
first; where it has seen none, because it does not run yet, the address that the host's route has is taken.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from provision.settings import Settings
from provision.settings.redis import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Knock:
    """How a host reaches Redis: each address behind its name with the host's own that goes there, and what Redis said.

    `said` is "" where no connection came about.
    """

    routes: tuple[tuple[str, str], ...] = ()
    said: str = ""


@dataclass(frozen=True)
class Client:
    """Who is connected to Redis: from where, as which user ("" where only the host's sockets tell), by what name."""

    address: str
    user: str = ""
    name: str = ""


@dataclass(frozen=True)
class Visitors:
    """What Redis itself says: its clients, and the addresses from which logins with these names came."""

    clients: tuple[Client, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Before:
    """A Redis host as it is: which hosts its file lets in, whether the table is there, whom it has just refused.

    `allowed` is what the table lets in as it is loaded, networks or "FIRST-LAST"; `peers` are connected to the port;
    `inside` are the networks of Redis' own container, which the port's rules do not concern.
    """

    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_up: bool = False
    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()

    def refuses(self, address: str) -> bool:
        """Whether none of its packets comes through already: a connection from there is one that nobody has ended."""
        return self.is_up and not any(_is_between(address, each) for each in self.allowed)


@dataclass(frozen=True)
class Firewall:
    """What a firewall lets in: hosts of the inventory, and networks.

    `unseen` are hosts that are let in by their route alone, and where they reach this Redis.
    """

    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    named: tuple[Network, ...] = ()
    refused: tuple[Network, ...] = ()
    unseen: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def networks(self) -> dict[int, list[str]]:
        """By the version of IP, the networks that are let in, none within another."""
        of_hosts = [ipaddress.ip_network(each) for addresses in self.hosts.values() for each in addresses]
        allowed = [net for each in (*self.named, *of_hosts) for net in _without(each, self.refused)]
        of_4 = ipaddress.collapse_addresses(each for each in allowed if isinstance(each, ipaddress.IPv4Network))
        of_6 = ipaddress.collapse_addresses(each for each in allowed if isinstance(each, ipaddress.IPv6Network))
        return {4: [_shown(each) for each in of_4], 6: [_shown(each) for each in of_6]}

    def lets_in(self, address: str) -> bool:
        return any(_is_within(address, each) for nets in self.networks.values() for each in nets)

    def refuses_on_purpose(self, address: str) -> bool:
        return any(_is_within(address, str(each)) for each in self.refused)


def normal(address: str) -> str:
    """An address as the kernel matches it: one of IPv4 is that, also where a socket of IPv6 has taken it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def addresses_of(
    knocks: Iterable[tuple[Knock, str]], visitors: Visitors, own: frozenset[str]
) -> tuple[list[str], bool]:
    """Given a host's knocks, each with its login's name, return the addresses that Redis' host sees of it.

    `own` are those of Redis' host; none are known where they cannot be asked. Also returns whether Redis has seen any.
    """
    knocks = list(knocks)
    seen = [visitors.seen[name] for _, name in knocks if visitors.seen.get(name, "") not in ("", *own)]
    versions = {ipaddress.ip_address(each).version for each in seen}
    routed = [
        source
        for knock, _ in knocks
        for address, source in knock.routes
        if source and (not own or normal(address) in own) and ipaddress.ip_address(source).version not in versions
    ]
    found = dict.fromkeys(normal(each) for each in (*seen, *routed))
    return [each for each in found if each not in own and not ipaddress.ip_address(each).is_loopback], bool(seen)


def cut_off(firewall: Firewall, before: Before, visitors: Visitors, own: frozenset[str]) -> dict[str, list[Client]]:
    """Who is connected and would not be let in, by address. Whoever is refused already, or on purpose, is not told."""
    found: dict[str, list[Client]] = {}
    behind = [each for each in visitors.clients if not any(_is_within(each.address, net) for net in before.inside)]
    known = {each.address for each in behind}
    for client in (*behind, *(Client(each) for each in before.peers if each not in known)):
        is_own = client.address in own or ipaddress.ip_address(client.address).is_loopback
        if before.refuses(client.address):
            continue
        if not is_own and not firewall.lets_in(client.address) and not firewall.refuses_on_purpose(client.address):
            found.setdefault(client.address, []).append(client)
    return found


def told(strangers: Mapping[str, Sequence[Client]], settings: Settings) -> str:
    """That these are connected and would be cut off, with the setting that decides it either way."""
    named = ", ".join(f"{address}{_in_words(clients)}" for address, clients in strangers.items())
    return (
        f"connected to Redis, and no host that its firewall would let in: {named}. To let them in, set"
        f" {setting(settings, *strangers)}; to cut one off, write it there with a '!': \"!{next(iter(strangers))}\""
    )


def setting(settings: Settings, *addresses: str) -> str:
    """The line to write: what is set, and these addresses."""
    listed = ", ".join(f'"{each}"' for each in (*settings.redis_allow_from, *addresses))
    return f"redis_allow_from = [{listed}]"


def _in_words(clients: Sequence[Client]) -> str:
    users = sorted({client.user for client in clients if client.user})
    # Whoever has not logged in is of the user `default`, who is off.
    shown = ["not logged in" if user == "default" else f"as {user}" for user in users]
    number = [f"{len(clients)} connections"] if len(clients) > 1 else []
    return f" ({', '.join([*shown, *number])})" if shown or number else ""


def _is_within(address: str, network: str) -> bool:
    found, net = ipaddress.ip_address(address), ipaddress.ip_network(network)
    return found.version == net.version and found in net


def _is_between(address: str, network: str) -> bool:
    """Whether it lies in a network, or in one written as FIRST-LAST."""
    first, _, last = network.partition("-")
    if not last:
        return _is_within(address, network)
    found, least, most = (ipaddress.ip_address(each) for each in (address, first, last))
    return found.version == least.version and int(least) <= int(found) <= int(most)


def _without(network: Network, refused: Iterable[Network]) -> list[Network]:
    """A network less others, as networks."""
    left: list[Network] = [network]
    for each in refused:
        left = [part for net in left for part in _less(net, each)]
    return left


def _less(network: Network, refused: Network) -> list[Network]:
    if network.version != refused.version or not network.overlaps(refused):
        return [network]
    if network.prefixlen >= refused.prefixlen:
        return []
    return list(network.address_exclude(refused))  # type: ignore[arg-type]  # of one version, as seen above


def _shown(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)

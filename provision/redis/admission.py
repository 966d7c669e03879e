"""What a Redis host's firewall is to let in, asked of all hosts before the first change; who would be cut off stops it.

Each app host knocks: a login by a name that nobody has, which Redis keeps with the address that it saw. So nobody
needs more rights, and NAT in between does not matter. Hosts that a run leaves alone stay let in as they were; of one
of which nothing is known this is asked all the same, once, and nothing is changed there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from pyinfra.api import Host, State

from provision.engine.changes import warn
from provision.engine.facts import Fact, side_by_side
from provision.engine.inventory import Member
from provision.engine.preflight import PreflightError
from provision.engine.private import PrivateInput
from provision.redis import firewall
from provision.redis.existing import Site
from provision.redis.facts import Knocks, RedisVisitors, firewall_before, site_of, who_visits
from provision.redis.firewall import Before, Firewall, Knock, Visitors
from provision.settings import Settings

_names: WeakKeyDictionary[Host, str] = WeakKeyDictionary()  # the name by which each host knocks in this run


@dataclass(frozen=True)
class _Caller:
    """A connected host that may need Redis, and its knocks; `addresses` are its own as Redis' host sees them."""

    member: Member
    knocks: tuple[tuple[Knock, str], ...]
    addresses: tuple[str, ...] = ()
    is_seen: bool = False

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def has_app(self) -> bool:
        return has_app(self.member)

    @property
    def gets_in(self) -> bool:
        """Whether Redis has answered it; whether Redis' host could be asked who that was is another question."""
        return self.is_seen or any(knock.said for knock, _ in self.knocks)


def has_app(member: Member) -> bool:
    """Whether a host's app counts in a Redis of ours."""
    return "app" in member.groups and member.settings.redis_mode != "external"


def admitted(
    host: Host,
    state: State,
    member: Member,
    members: list[Member],
    site: Site,
    *,
    from_windows: type[Fact[Knock]],
) -> Firewall | None:
    """Return what the firewall of Redis' host is to let in; None where it needs none, or must stay as it is.

    `from_windows` is `Knocks` as a Windows host is asked. Raise PreflightError when somebody would be cut off, with the
    setting that decides it.
    """
    settings = member.settings
    if not settings.redis_needs_firewall:
        return None
    others = [each for each in members if each.name != member.name and (has_app(each) or "redis" in each.groups)]
    known = firewall_before(host, settings).hosts
    asked = [each for each in others if _answers(state.inventory.get_host(each.name), ask=each.name not in known)]
    knocks = side_by_side(
        partial(_knocks, state.inventory.get_host(each.name), each, settings, from_windows) for each in asked
    )
    knocked = [_Caller(*pair) for pair in zip(asked, knocks, strict=True)]
    names = [name for caller in knocked for _, name in caller.knocks]
    visitors, was = _visitors(host, settings, names), firewall_before(host, settings)  # after the knocks
    callers = [_found(caller, visitors, site) for caller in knocked]
    unasked = [each for each in others if each not in asked]
    if unknown := _without_address(unasked, was, settings):
        if site.listeners and not was.hosts:
            warn(
                host,
                f"Redis' port stays open to everybody: the addresses of {', '.join(unknown)} are not"
                " known. Deploy when they can be connected to, or name the addresses in redis_allow_from",
            )
            return None
        warn(
            host,
            f"{', '.join(unknown)} cannot reach Redis until a deploy that can ask for their"
            " addresses: its firewall does not know them",
        )
    rules = _rules(callers, unasked, was, settings)
    objections = [
        *_led_elsewhere(state, callers, members, settings),
        *_refused_already(callers, was, site, settings, host),
        *_not_let_in(callers, rules, settings),
    ]
    if strangers := firewall.cut_off(rules, was, visitors, site.addresses):
        objections.append(firewall.told(strangers, settings))
    if objections:
        raise PreflightError("\n".join(f"{host.name}: {each}; no host was changed" for each in objections))
    return rules


def _answers(host: Host, *, ask: bool) -> bool:
    """Whether a host can be asked: it is in the run, or `ask` says to connect to it for the question alone."""
    if not host.connected and ask:
        host.connect(reason="to learn the address that Redis sees of it", show_errors=False)
    return host.connected


def _knocks(
    caller: Host, member: Member, settings: Settings, from_windows: type[Fact[Knock]]
) -> tuple[tuple[Knock, str], ...]:
    name = _names.setdefault(caller, f"deploy-{secrets.token_hex(8)}")
    question = from_windows if member.is_windows else Knocks
    return tuple(
        (caller.get_fact(question, server=server, port=port, caller=name), name)
        for server, port in _doors(member, settings)
    )


def _doors(member: Member, settings: Settings) -> list[tuple[str, int]]:
    """Where a host knocks: at the Redis that this is about, and where its own app would."""
    named = [settings, member.settings] if has_app(member) else [settings]
    return list(dict.fromkeys((each.redis_host, each.redis_port) for each in named if not each.redis_is_local))


def _visitors(host: Host, settings: Settings, names: Sequence[str]) -> Visitors:
    question = PrivateInput(who_visits(settings.redis_operator_password.get_secret_value()))
    return host.get_fact(RedisVisitors, port=settings.redis_port, names=tuple(names), _stdin=question)


def _found(caller: _Caller, visitors: Visitors, site: Site) -> _Caller:
    addresses, is_seen = firewall.addresses_of(caller.knocks, visitors, site.addresses)
    return _Caller(caller.member, caller.knocks, tuple(addresses), is_seen)


def _without_address(unasked: list[Member], before: Before, settings: Settings) -> list[str]:
    """The app hosts that could not be asked, and that no earlier run has asked."""
    if not settings.redis_allows_app_hosts:
        return []
    return [each.name for each in unasked if has_app(each) and each.name not in before.hosts]


def _rules(callers: list[_Caller], unasked: list[Member], before: Before, settings: Settings) -> Firewall:
    hosts = {each.name: before.hosts[each.name] for each in unasked if each.name in before.hosts}
    for caller in callers:
        if caller.addresses and ("redis" in caller.member.groups or settings.redis_allows_app_hosts):
            hosts[caller.name] = caller.addresses
    unseen = {
        each.name: _doors(each.member, settings)[0]
        for each in callers
        if each.has_app and each.addresses and not each.is_seen and each.name in hosts and not each.member.is_windows
    }
    named, refused = settings.redis_allowed_networks, settings.redis_refused_networks
    return Firewall(dict(sorted(hosts.items())), tuple(named), tuple(refused), unseen)


def _led_elsewhere(state: State, callers: list[_Caller], members: list[Member], settings: Settings) -> Iterator[str]:
    """The app hosts whose `redis_host` leads to no Redis host of the inventory, as far as they can be asked."""
    servers = [each for each in members if "redis" in each.groups and not each.is_windows]
    for caller in callers:
        # Where it is a Redis host itself, its own address is no way from it.
        if not caller.has_app or caller.addresses or not settings.redis_allows_app_hosts or caller.member in servers:
            continue
        if not any(_is_door_of(state, server, caller) for server in servers):
            behind = sorted({there for knock, _ in caller.knocks for there, _ in knock.routes})
            yield (
                f"{caller.name}: its redis_host ({caller.member.settings.redis_host}) leads to"
                f" {', '.join(behind) or 'no address'}, which no host of the role redis has, so its firewall cannot let"
                f' {caller.name} in. Mend redis_host, or say which addresses Redis will see, instead of "app":'
                ' redis_allow_from = ["(address of each app host)"]'
            )


def _is_door_of(state: State, server: Member, caller: _Caller) -> bool:
    """Whether one of a host's knocks was at this Redis host; also where that cannot be asked."""
    host, settings = state.inventory.get_host(server.name), server.settings
    if not host.connected:
        return True
    site = site_of(host, settings)
    if not site.addresses or any(there in site.addresses for knock, _ in caller.knocks for there, _ in knock.routes):
        return True
    return bool(_visitors(host, settings, [name for _, name in caller.knocks]).seen)


def _refused_already(
    callers: list[_Caller], before: Before, site: Site, settings: Settings, host: Host
) -> Iterator[str]:
    """The app hosts that are let in and do not get in: by our own firewall for an address that is not theirs (NAT)."""
    for caller in callers:
        is_let_in = caller.has_app and caller.addresses and before.hosts.get(caller.name) == caller.addresses
        if caller.gets_in or not is_let_in or not site.listeners or not before.is_up:
            continue
        where = f"{caller.member.settings.redis_host}:{settings.redis_port}"
        if before.refused:
            (address, *more) = before.refused
            yield (
                f"{caller.name} does not reach Redis at {where}: the firewall lets in {', '.join(caller.addresses)},"
                f" its own address, and has refused {', '.join(before.refused)} just now, as it would behind NAT. Where"
                f" that is {caller.name}, set {firewall.setting(settings, '(its address)' if more else address)}"
            )
        else:
            warn(
                host,
                f"{caller.name} does not reach Redis at {where}, which is not this firewall's doing:"
                " see what lies between them",
            )


def _not_let_in(callers: list[_Caller], rules: Firewall, settings: Settings) -> Iterator[str]:
    """The app hosts that Redis has seen at an address that a person's own list lacks."""
    for caller in callers if not settings.redis_allows_app_hosts else []:
        lacks = [each for each in caller.addresses if not (rules.lets_in(each) or rules.refuses_on_purpose(each))]
        if caller.has_app and caller.is_seen and lacks:
            yield (
                f"its firewall would cut off {caller.name}, which Redis sees as {', '.join(lacks)}: set"
                f" {firewall.setting(settings, *lacks)}"
            )

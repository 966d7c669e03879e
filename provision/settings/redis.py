"""Settings of the shared Redis that the app's rate limiters count in."""

from __future__ import annotations

import ipaddress
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from provision.settings.app import AppSettings
from provision.settings.fields import (
    APP_HOSTS,
    AddressOrNone,
    AllowedFrom,
    BindAddress,
    Days,
    Host,
    PlainNetwork,
    Port,
    Secret,
    User,
    matching,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Image = Annotated[str, matching(r"[\w./:@-]+", "must be the name of an image, such as redis:7.2-alpine")]


class RedisSettings(AppSettings):
    redis_mode: Literal["package", "instance", "compose", "external"] = Field(
        "package",
        description="Where Redis comes from: Debian's package, a service of its own from that package (beside another"
        " app's), Docker Compose, or somebody else's server.",
    )
    redis_package: Literal["redis", "valkey"] = Field(
        "redis",
        description="Modes package and instance: Redis, or Valkey where the distribution has it (Debian 13), for new"
        " hosts only.",
    )
    redis_image: Image = Field("redis:7.2-alpine", description="Mode compose: the image, of Redis 7.0 or newer.")
    redis_take_over: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Let a deploy replace a Redis with data that the host has already; those data stay behind, unused.",
    )
    redis_host: Host = Field("127.0.0.1", description="The name or address by which the app hosts reach Redis.")
    redis_port: Port = Field(6379, description="The TCP port that Redis listens on.")
    redis_bind: list[BindAddress] = Field(
        default_factory=list,
        validate_default=True,
        description="The addresses that Redis listens on; by default loopback, and `redis_host` where that is an"
        " address. A leading `-`: the host may lack it.",
        examples=[["127.0.0.1", "-::1", "10.0.0.5"]],
    )
    redis_allow_from: list[AllowedFrom] = Field(
        [APP_HOSTS],
        description="Who may reach Redis' port: `app` (the app hosts' addresses, as Redis sees them), addresses and"
        " networks; a leading `!` refuses one. Loopback and the hosts of `redis` always may.",
        examples=[["app", "10.0.7.0/24", "!10.0.7.9"]],
    )
    redis_tls: Annotated[bool, Field(strict=True)] = Field(
        False, description="Mode external: whether Redis is reached over TLS (`rediss://`)."
    )
    redis_user: User = Field(
        default_factory=lambda data: data["app_name"],
        validate_default=True,
        description="The Redis user that the app connects as.",
    )
    redis_password: Secret = Field(description="The app's Redis password: `env:NAME`, `file:PATH` or `command:...`.")
    redis_operator_password: Secret = Field(
        description="The password of Redis' `operator` user, for people, monitoring and this project."
    )
    redis_max_memory_mb: Annotated[int, Field(strict=True, ge=16, le=2**24)] = Field(
        256, description="How much memory the counters may use; at the limit Redis refuses writes rather than forgets."
    )

    redis_max_clients: Annotated[int, Field(strict=True, ge=10, le=60000)] = Field(
        1000, description="How many connections Redis accepts at once."
    )
    redis_allow_eval: Literal["auto"] | Annotated[bool, Field(strict=True)] = Field(
        "auto",
        description="Whether the app may run scripts (EVAL): True, False, or `auto`: where it already could, for as"
        " long as it does.",
    )
    redis_eval_days: Days = Field(
        14,
        description="With `redis_allow_eval = 'auto'`: after how many days without a script the app loses that right.",
    )
    redis_exporter_bind: AddressOrNone = Field(
        "",
        description="Where Prometheus asks about Redis, by Debian's redis_exporter on Redis' host: loopback, or an"
        " address that Redis listens on; empty: there is none.",
        examples=["127.0.0.1"],
    )
    redis_exporter_port: Port = Field(9121, description="The TCP port of redis_exporter.")
    redis_exporter_allow_from: list[PlainNetwork] = Field(
        default_factory=list,
        validate_default=True,
        description="Who may reach redis_exporter besides Redis' host itself: Prometheus' addresses, or networks.",
        examples=[["10.0.0.20"]],
    )

    @property
    def redis_allows_app_hosts(self) -> bool:
        """Whether the inventory's app hosts may reach Redis by being that."""
        return APP_HOSTS in self.redis_allow_from

    @property
    def redis_allowed_networks(self) -> list[Network]:
        """The networks that may reach Redis besides the inventory's hosts."""
        named = [each for each in self.redis_allow_from if each != APP_HOSTS and not each.startswith("!")]
        return [ipaddress.ip_network(each) for each in named]

    @property
    def redis_refused_networks(self) -> list[Network]:
        """The networks that may not, whatever else allows them."""
        return [ipaddress.ip_network(each[1:]) for each in self.redis_allow_from if each.startswith("!")]

    @property
    def redis_needs_firewall(self) -> bool:
        """Whether Redis listens where not everybody may reach it: elsewhere than on loopback."""
        listens = [ipaddress.ip_address(each.removeprefix("-")) for each in self.redis_listens_on]
        is_open = {"0.0.0.0/0", "::/0"} <= set(self.redis_allow_from) and not self.redis_refused_networks
        return self.redis_mode != "external" and not is_open and not all(each.is_loopback for each in listens)

    @property
    def redis_exporter_networks(self) -> dict[int, list[Network]]:
        """Who may reach redis_exporter from elsewhere, by the version of IP, none within another."""
        named = [ipaddress.ip_network(each) for each in self.redis_exporter_allow_from if self.redis_exporter_is_shared]
        v4 = [each for each in named if isinstance(each, ipaddress.IPv4Network)]
        v6 = [each for each in named if isinstance(each, ipaddress.IPv6Network)]
        return {4: list(ipaddress.collapse_addresses(v4)), 6: list(ipaddress.collapse_addresses(v6))}

    @property
    def redis_exporter_is_shared(self) -> bool:
        """Whether redis_exporter listens elsewhere than on loopback."""
        address = _address(self.redis_exporter_bind)
        return address is not None and not address.is_loopback

    @property
    def redis_exporter_listens_on(self) -> str:
        """Its address and port as it takes them."""
        address = self.redis_exporter_bind
        return f"{f'[{address}]' if ':' in address else address}:{self.redis_exporter_port}"

    @property
    def redis_exporter_unit(self) -> str:
        """Our own unit: the package's serves one Redis of a host, open to everybody, by no password."""
        return f"{self.app_name}-redis-exporter.service"

    @property
    def redis_exporter_user(self) -> str:
        """The system user that redis_exporter runs as."""
        return f"{self.app_name}-exporter"

    @property
    def redis_exporter_login(self) -> str:
        """How redis_exporter logs in, for root and that user alone."""
        return f"/etc/{self.app_name}-redis-exporter/login"

    @property
    def redis_exporter_password(self) -> str:
        """Of Redis' user `exporter`, who may ask for statistics alone: derived, so that it needs no secret of its
        own."""
        return sha256(f"exporter {self.redis_operator_password.get_secret_value()}".encode()).hexdigest()

    @property
    def redis_firewall_ports(self) -> list[int]:
        """The ports that the firewall guards."""
        return [self.redis_port]

    @property
    def redis_firewall_table(self) -> str:
        """The name of our own nftables table, of the family inet."""
        return f"{self.app_name}-redis"

    @property
    def redis_firewall_file(self) -> str:
        """Our nftables table as nft reads it."""
        return f"{self.redis_own_dir}/firewall.nft"

    @property
    def redis_firewall_unit(self) -> str:
        """The unit that loads it, before Redis and before the network."""
        return f"{self.app_name}-redis-firewall.service"

    @property
    def redis_firewall_drop_in(self) -> str:
        """What loads it again when nftables.service loads the rules of the host."""
        return f"/etc/systemd/system/nftables.service.d/{self.app_name}-redis.conf"

    @property
    def redis_script_watch(self) -> str:
        """The program that keeps when Redis last ran a script."""
        return f"/usr/local/lib/{self.app_name}/count-scripts.sh"

    @property
    def redis_script_login(self) -> str:
        """How that program logs in, root's alone."""
        return f"{self.redis_own_dir}/count-scripts.login"

    @property
    def redis_script_state(self) -> str:
        """What that program has seen: never where a Redis has its data, which is its user's."""
        return f"/var/lib/{self.app_name}-redis{'-scripts' if self.redis_mode == 'instance' else ''}/scripts"

    @property
    def redis_sampler_password(self) -> str:
        """Of the user `sampler`, who may ask for statistics alone: derived, so that it needs no secret of its own."""
        return sha256(f"sampler {self.redis_operator_password.get_secret_value()}".encode()).hexdigest()

    @property
    def redis_max_memory_bytes(self) -> int:
        return self.redis_max_memory_mb << 20

    @property
    def redis_clients_memory_bytes(self) -> int:
        """What all connections together may hold in Redis: the largest goes when they would hold more.

        An idle one holds 2 KiB, a busy one 20; one of half a million words, which would take Redis a while, 8 MiB.
        """
        return max(self.redis_max_clients << 13, 8 << 20)

    @property
    def redis_process_memory_mb(self) -> int:
        """The bound of Redis' whole service: its data twice, as while it rewrites its file, and what it holds else."""
        return 2 * (self.redis_max_memory_bytes + self.redis_clients_memory_bytes >> 20) + 128

    @property
    def redis_own_dir(self) -> str:
        """What of Redis is this app's alone on its host: the firewall, and where no package has it, the rest."""
        return f"/etc/{self.app_name}-redis"

    @property
    def redis_config_dir(self) -> str:
        """Where redis.conf and users.acl lie on the host; a container sees it as /etc/redis."""
        if self.redis_mode == "package":
            return f"/etc/{self.redis_package}"
        return self.redis_own_dir if self.redis_mode == "instance" else f"{self.redis_own_dir}/mounted"

    @property
    def redis_config_file(self) -> str:
        """The host's path of redis.conf, or valkey.conf."""
        return f"{self.redis_config_dir}/{self.redis_package if self.redis_mode == 'package' else 'redis'}.conf"

    @property
    def redis_server(self) -> str:
        """The distribution's package; its program and its own unit have the same name."""
        return f"{self.redis_package}-server"

    @property
    def redis_service(self) -> str:
        """The unit of modes package and instance."""
        return self.redis_own_service if self.redis_mode == "instance" else self.redis_server

    @property
    def redis_own_service(self) -> str:
        """Mode instance: the unit."""
        return f"{self.app_name}-redis"

    @property
    def redis_system_user(self) -> str:
        """The system user that Redis runs as in modes package and instance."""
        return self.redis_own_service if self.redis_mode == "instance" else self.redis_package

    @property
    def redis_data_dir(self) -> str:
        """Where Redis has its counters in modes package and instance."""
        return f"/var/lib/{self.redis_system_user}"

    @property
    def redis_acl_file(self) -> str:
        """The host's path of the file that Redis reads its users from."""
        return f"{self.redis_config_dir}/users.acl"

    @property
    def redis_container(self) -> str:
        """Mode compose: the container's name; its volume's is this with `-data`."""
        return f"{self.app_name}-redis"

    @property
    def redis_compose_file(self) -> str:
        """Mode compose: the Compose file that is ours alone."""
        return f"{self.app_dir}/compose.redis.yaml"

    @property
    def redis_listens_on(self) -> list[str]:
        """The addresses for redis.conf's `bind`; a leading "-" marks one that may be missing (IPv6 may be off)."""
        return _listens_on(self.redis_bind, self.redis_host)

    @property
    def redis_is_local(self) -> bool:
        """Whether `redis_host` is a host's own loopback."""
        address = _address(self.redis_host)
        return self.redis_host == "localhost" or (address is not None and address.is_loopback)

    @property
    def redis_needs_network(self) -> bool:
        """Whether Redis listens on an address that may come up late in a boot, and does not start without it."""
        needed = [ipaddress.ip_address(each) for each in self.redis_listens_on if not each.startswith("-")]
        return any(not each.is_loopback and not each.is_unspecified for each in needed)

    @field_validator("redis_mode")
    @classmethod
    def _has_a_user_of_its_own(cls, mode: str, values: ValidationInfo) -> str:
        if mode == "instance" and len(app_name := values.data.get("app_name", "")) > 26:
            raise ValueError(f"needs the system user {app_name}-redis, which is longer than 32: shorten app_name")
        return mode

    # Rules across settings hang on one field each: pydantic runs a model's own rules only when every field
    # is valid, and all faults are to be told at once.
    @field_validator("redis_bind")
    @classmethod
    def _is_reached_by_everyone(cls, addresses: list[str], values: ValidationInfo) -> list[str]:
        host = values.data.get("redis_host")
        mode = values.data.get("redis_mode")
        if mode not in ("package", "instance", "compose") or host is None:
            return addresses
        if not addresses and _address(host) is None and host != "localhost":
            raise ValueError(
                f"is missing: redis_host is the name {host!r}, so say which addresses"
                ' Redis listens on, such as redis_bind = ["127.0.0.1", "-::1", "10.0.0.5"]'
            )
        # A container's port is published on what surely is there, not on what "may be missing".
        loopback = {"127.0.0.1", "0.0.0.0"} if mode == "compose" else {"127.0.0.1", "-127.0.0.1", "0.0.0.0"}
        if addresses and not loopback & set(addresses):
            raise ValueError("must hold 127.0.0.1 too: the deploy and the verification ask Redis there")
        address, listens = _address(host), _listens_on(addresses, host)
        # Another address may lead to one of these, by NAT or a tunnel; loopback, such as 127.0.1.1, does not.
        if address is not None and address.is_loopback and not _is_among(host, listens):
            raise ValueError(
                f"lacks redis_host = '{host}', and Redis would listen on {', '.join(listens)} alone: add it here, or"
                " correct redis_host"
            )
        return addresses

    @field_validator("redis_bind")
    @classmethod
    def _hold_each_once(cls, addresses: list[str]) -> list[str]:
        # A second socket on the same address and port is an error, at which Redis ends.
        seen = [ipaddress.ip_address(each.removeprefix("-")) for each in addresses]
        for address in seen:
            if seen.count(address) > 1:
                raise ValueError(f"holds {address} twice: Redis would not start")
            of_its_family = [each for each in seen if each.version == address.version]
            if address.is_unspecified and len(of_its_family) > 1:
                raise ValueError(f"holds {address} beside others that it includes: Redis would not start")
        return addresses

    @field_validator("redis_tls")
    @classmethod
    def _is_external(cls, tls: bool, values: ValidationInfo) -> bool:
        if tls and values.data.get("redis_mode") in ("package", "instance", "compose"):
            raise ValueError('is for redis_mode = "external" only: the Redis of the other modes speaks no TLS yet')
        return tls

    @field_validator("redis_user")
    @classmethod
    def _is_not_taken(cls, name: str, values: ValidationInfo) -> str:
        # A managed Redis often has no user but `default`.
        taken = ("default", "operator", "sampler") if values.data.get("redis_mode") != "external" else ()
        if name in taken:
            raise ValueError("is a user of Redis already; choose another redis_user")
        return name

    @field_validator("redis_exporter_bind")
    @classmethod
    def _is_where_redis_is(cls, address: str, values: ValidationInfo) -> str:
        if not address:
            return address
        if values.data.get("redis_mode") == "external":
            raise ValueError("is for a Redis of this project's: that of redis_mode 'external' has no host here")
        if len(app_name := values.data.get("app_name", "")) > 23:
            raise ValueError(f"needs the system user {app_name}-exporter, which is longer than 32: shorten app_name")
        if values.data.get("redis_user") == "exporter":
            raise ValueError("needs Redis' user 'exporter', which is the app's here: choose another redis_user")
        given = {"redis_bind", "redis_host"} <= values.data.keys()
        listens = _listens_on(values.data["redis_bind"], values.data["redis_host"]) if given else []
        if not ipaddress.ip_address(address).is_loopback and listens and not _is_among(address, listens):
            raise ValueError(
                f"must be loopback or an address that Redis listens on ({', '.join(listens)}): one firewall guards both"
            )
        return address

    @field_validator("redis_exporter_port")
    @classmethod
    def _is_not_of_redis(cls, port: int, values: ValidationInfo) -> int:
        if values.data.get("redis_exporter_bind") and port == values.data.get("redis_port"):
            raise ValueError("is Redis' own port")
        return port

    @field_validator("redis_exporter_allow_from")
    @classmethod
    def _let_somebody_in(cls, networks: list[str], values: ValidationInfo) -> list[str]:
        address = values.data.get("redis_exporter_bind")
        if address and not networks and not ipaddress.ip_address(address).is_loopback:
            raise ValueError(f"is empty, and nobody could ask redis_exporter at {address}: name Prometheus' address")
        return networks


def _listens_on(bind: list[str], redis_host: str) -> list[str]:
    address = _address(redis_host)
    shared = [] if address is None or address.is_loopback else [redis_host]
    return bind or ["127.0.0.1", "-::1", *shared]


def _is_among(address: str, listens: list[str]) -> bool:
    wanted, those = ipaddress.ip_address(address), [ipaddress.ip_address(each.removeprefix("-")) for each in listens]
    return any(each == wanted or (each.is_unspecified and each.version == wanted.version) for each in those)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

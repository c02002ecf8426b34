"""From what the user asked to what will run; looks around and starts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.addresses import Addresses
from deploy.local.data_dir import DataDir
from deploy.local.engine import demo_engine, find_engines
from deploy.local.errors import PortTaken, WrongSetting
from deploy.local.external import reachable, shown
from deploy.local.mongo_server import mongo_server
from deploy.local.nats_server import keys_of, nats_server
from deploy.local.settings import LauncherSettings
from deploy.local.spec import External, Part
from deploy.local.topology import Request, Topology, topology
from deploy.nats.keys import Keys
from shared.nkey_seeds import WrongSeed

_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The flags of ``parley up``."""

    port: int
    host: str
    workers: int
    gateways: int
    demo: bool
    web_dist: Path | None


@dataclass(frozen=True, slots=True)
class Preparation:
    """Finds out everything a topology has to know."""

    options: Options
    settings: LauncherSettings
    environment: Mapping[str, str]
    data: DataDir
    notice: Callable[[str], None]
    """Shows the user one line."""

    async def topology(self) -> Topology:
        """Everything that will run.

        Raises:
            LauncherError: a port is taken, a server does not answer, a program is missing.
        """
        addresses = Addresses(self.data.run / "ports.json")
        # The user's own wish first, so that no choice of ours can be in its way.
        ports = self._gateway_ports(addresses)
        nats, mongo, engines = await asyncio.gather(
            self._nats(addresses), self._mongo(addresses), self._engines(addresses)
        )
        return topology(
            Request(
                nats=nats,
                mongo=mongo,
                engines=engines,
                host=self.options.host,
                gateway_ports=ports,
                workers=self.options.workers,
                environment=self._base(),
                data_dir=self.data.root,
                ready_timeout=self.settings.ready_timeout,
                stop_grace=self.settings.stop_grace,
                drain_grace=self.settings.drain_grace,
                web_dist=self.options.web_dist,
                nats_keys=self._nats_keys(),
            )
        )

    def _base(self) -> dict[str, str]:
        # Unbuffered, or a ready line would wait in a pipe's buffer.
        return {**self.environment, "PYTHONUNBUFFERED": "1"}

    def _gateway_ports(self, addresses: Addresses) -> tuple[int, ...]:
        first, host = self.options.port, self.options.host
        numbers = range(self.options.gateways)
        if first == 0:
            return tuple(addresses.choose(f"gateway-{n + 1}", host) for n in numbers)
        if first + len(numbers) - 1 > _HIGHEST_PORT:
            sentence = f"--port {first} leaves no room for {len(numbers)} gateways."
            raise PortTaken(sentence)
        return tuple(addresses.require(host, first + n, "--port") for n in numbers)

    async def _nats(self, addresses: Addresses) -> Part:
        if url := self.settings.nats_url:
            return await reachable("nats", url, "NATS_URL")
        return nats_server(
            self.data.nats,
            addresses.choose("nats"),
            env=self._base(),
            ready_timeout=self.settings.ready_timeout,
            grace=self.settings.stop_grace,
        )

    def _nats_keys(self) -> Keys | None:
        if not self.settings.nats_url:
            return keys_of(self.data.nats)
        if self.settings.nats_keys_dir is None:
            return None
        keys = Keys(self.settings.nats_keys_dir.absolute())
        try:
            keys.public_keys()
        except WrongSeed as error:
            sentence = f"NATS_KEYS_DIR: {error}."
            raise WrongSetting(sentence) from error
        return keys

    async def _mongo(self, addresses: Addresses) -> Part:
        if url := self.settings.mongodb_url:
            return await reachable("mongo", url, "MONGODB_URL")
        return mongo_server(
            self.data.mongo,
            addresses.choose("mongo"),
            env=self._base(),
            ready_timeout=self.settings.ready_timeout,
            grace=self.settings.stop_grace,
        )

    async def _engines(self, addresses: Addresses) -> tuple[Part, ...]:
        if not self.options.demo:
            engines = await find_engines(self.settings.engine_urls, self.settings.engine_api_key)
            for url in engines.silent:
                self.notice(f"no engine answers at {shown(url)} yet; workers wait for it.")
            if engines.urls:
                return tuple(
                    External(f"engine-{number}", url)
                    for number, url in enumerate(engines.urls, start=1)
                )
        demo = demo_engine(
            addresses.choose("engine"),
            parallel=self.options.workers * self.settings.worker_slots,
            env=self._base(),
            ready_timeout=self.settings.ready_timeout,
            grace=self.settings.stop_grace,
        )
        return (demo,)

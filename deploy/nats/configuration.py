"""The text of nats-server's configuration file: one place for every limit, local or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.nats.permissions import PERMISSIONS, Permissions
from shared.contracts.identities import Identity

_TEMPLATE: Final = """\
# {origin}
server_name: parley
listen: {listen}{monitor}
max_payload: 8MB
max_connections: 512
max_control_line: 4KB
write_deadline: "5s"
ping_interval: "10s"
ping_max: 2
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_mem: 256MB
  max_file: {max_file}
}}
# One user for each service, all in the default account, where JetStream keeps its streams: a data
# directory of before there were users goes on as it is. Nobody else gets in.
authorization {{
  # The default of 2 s refuses clients of a machine that is busy for a moment.
  timeout: 10
  users: [
{users}
  ]
}}
{extra}"""
# As long as the slowest answer may take: history copies whole sessions.
_RESPONSES: Final = '{ max: 1, expires: "2m" }'


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What differs from one broker to another."""

    host: str
    port: int
    store: Path
    """Where JetStream keeps its files."""
    public_keys: Mapping[Identity, str]
    origin: str = "Written by `python -m deploy.nats`."
    """Said in the first line."""
    monitor: str | None = None
    """``host:port`` of the monitoring page, which asks nobody who they are: loopback only."""
    max_file: str = "8GB"
    """What JetStream's files may take."""
    extra: str | None = None
    """A file beside this one with what belongs to its machine alone, such as a ``tls`` block."""

    def text(self, *more_users: str) -> str:
        """The file.

        Args:
            more_users: Further users as nats-server reads them; tests have one that may do all.
        """
        users = [
            _user(identity, self.public_keys[identity], permissions)
            for identity, permissions in PERMISSIONS.items()
        ]
        return _TEMPLATE.format(
            origin=self.origin,
            listen=_quoted(f"{self.host}:{self.port}"),
            monitor=f"\nhttp: {_quoted(self.monitor)}" if self.monitor else "",
            store=_quoted(str(self.store)),
            max_file=self.max_file,
            users="\n".join((*users, *more_users)),
            extra=f"include {_quoted(self.extra)}\n" if self.extra else "",
        )


def _user(identity: Identity, public_key: str, permissions: Permissions) -> str:
    responses = f"\n      allow_responses: {_RESPONSES}" if permissions.responds else ""
    return f"""\
    # {identity}
    {{ nkey: {public_key}, permissions: {{
      publish: {{ allow: {_list(permissions.publish)} }}
      subscribe: {{ allow: {_list(permissions.subscribe)} }}{responses}
    }} }}"""


def _list(patterns: tuple[str, ...]) -> str:
    lines = ",\n".join(f"        {_quoted(pattern)}" for pattern in patterns)
    return f"[\n{lines}\n      ]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

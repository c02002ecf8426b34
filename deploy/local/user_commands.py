"""``parley users purge``: flags in, one call, lines out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.local.flags import DataDirFlag, JsonFlag, data_dir_of

app = typer.Typer(help="Everything that there is of one user.", no_args_is_help=True)


@app.callback()
def users() -> None:
    """Everything that there is of one user."""


@app.command()
def purge(
    user: Annotated[str, typer.Argument(metavar="USER", help="As keys and sessions name them.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, it is counted.")] = False,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove everything of one user, for good: sessions, usage, presets, preferences, keys.

    It works while everything runs. Streams and sockets of the user end, and for two minutes
    nobody is let in by that name. docs/security.md says what is left for how long.
    """
    from deploy.local import broker_client, settings, users

    own = settings.LauncherSettings.from_environment(settings.read_environment())
    broker = broker_client.BrokerClient(data_dir_of(data_dir), own.nats_url, own.nats_keys_dir)
    commands = users.UserCommands(broker)
    body = commands.purge(user) if yes else commands.count(user)
    if as_json:
        typer.echo(json.dumps(body))
        return
    for line in users.lines(body):
        typer.echo(line)

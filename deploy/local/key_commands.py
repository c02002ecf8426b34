"""``parley keys create | list | revoke``: flags in, one call, lines out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.local.data_dir import DataDir
from deploy.local.flags import DataDirFlag, JsonFlag, data_dir_of

if TYPE_CHECKING:
    from deploy.local.keys import KeyCommands

app = typer.Typer(help="API keys; they need no running gateway.", no_args_is_help=True)


@app.command()
def create(
    *,
    user: Annotated[str, typer.Option(help="Whose sessions and usage it opens.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    admin: Annotated[
        bool, typer.Option("--admin", help="It may make keys and change what holds for all.")
    ] = False,
    rpm: Annotated[
        int | None, typer.Option(min=0, help="Generations a minute; 0 is no limit.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=0, help="Generations at once; 0 is no limit.")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens that it may use in a calendar month.")
    ] = None,
    budget_money: Annotated[
        str | None, typer.Option(help="Money that it may use up in a month, by API_PRICES: 12.50.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Patterns of the models it may ask, by commas.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="For how long it is valid, such as 90d.")
    ] = None,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key. It is shown this once; only its hash is kept."""
    from deploy.local import keys
    from services.api.access.key_admin import Wish
    from shared.clock import utc_now
    from shared.contracts.ids import UserId

    wish = Wish(
        UserId(user),
        name=name,
        admin=admin,
        models=keys.patterns(models),
        requests_per_minute=rpm,
        concurrent=concurrent,
        tokens_per_month=budget_tokens,
        money_per_month=keys.amount(budget_money),
        expires_at=keys.expiry(expires, utc_now()),
    )
    made = _commands(data_dir).create(wish)
    typer.echo(json.dumps(made) if as_json else made["key"])


@app.command("list")
def list_keys(
    *,
    user: Annotated[str | None, typer.Option(help="Only those of this user.")] = None,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show all keys, also revoked ones; never the keys themselves."""
    from deploy.local import keys

    found = _commands(data_dir).everyone(user)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in keys.lines(found):
        typer.echo(line)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `parley keys list` shows it.")],
    *,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a key in no more: at every gateway within a second, open streams and sockets too."""
    revoked = _commands(data_dir).revoke(key_id)
    typer.echo(json.dumps(revoked) if as_json else f"revoked {revoked['prefix']}…")


def _commands(flag: Path | None) -> KeyCommands:
    from deploy.local import broker_client, keys, settings

    environment = settings.read_environment()
    own = settings.LauncherSettings.from_environment(environment)
    data: DataDir = data_dir_of(flag)
    return keys.KeyCommands(broker_client.BrokerClient(data, own.nats_url, own.nats_keys_dir))

"""The command ``parley``: flags in, one call, a sentence and an exit code out."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.local import key_commands, services, user_commands
from deploy.local.errors import LauncherError, MissingPart
from deploy.local.flags import DataDirFlag, JsonFlag, data_dir_of

app = typer.Typer(
    name="parley",
    help="A self-hosted chat-completions platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

models_app = typer.Typer(help="The models that workers offer.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(key_commands.app, name="keys")
app.add_typer(user_commands.app, name="users")

UrlFlag = Annotated[
    str | None, typer.Option("--url", help="A gateway; default: that of --data-dir.")
]


@app.command()
def up(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="First gateway; 0 takes any free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="For each engine.")] = 1,
    gateways: Annotated[int, typer.Option(min=1, help="On consecutive ports.")] = 1,
    host: Annotated[str, typer.Option(help="Where gateways listen.")] = "127.0.0.1",
    data_dir: DataDirFlag = None,
    demo: Annotated[bool, typer.Option("--demo", help="Use the demo engine in any case.")] = False,
    web_dist: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The built web app.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the parts log.")
    ] = False,
) -> None:
    """Start all of Parley on this machine; Ctrl-C stops it."""
    from deploy.local import launch, preparation, settings

    environment = settings.read_environment()
    options = preparation.Options(
        port=port,
        host=host,
        workers=workers,
        gateways=gateways,
        demo=demo,
        web_dist=web_dist.absolute() if web_dist else None,
    )
    read = settings.LauncherSettings.from_environment(environment)
    if data_dir:
        read = read.model_copy(update={"data_dir": data_dir})
    voice = launch.Voice(result=_say, notice=_notice, echo=_notice if verbose else None)
    launch.up(options, read, environment, voice)


@app.command()
def ps(
    *,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List what runs: name, pid and address. Servers that Parley did not start have no pid."""
    from deploy.local import running

    data = data_dir_of(data_dir)
    entries = running.processes(data)
    if as_json:
        typer.echo(json.dumps([{"name": e.name, "pid": e.pid, "url": e.url} for e in entries]))
        return
    if not entries:
        sentence = f"Parley does not run on {data.root}."
        raise LauncherError(sentence)
    for entry in entries:
        typer.echo(f"{entry.name:<12}{entry.pid or '-':>8}  {entry.url or '-'}")


@app.command()
def chat(
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    *,
    model: Annotated[str | None, typer.Option(help="Default: the first that is served.")] = None,
    system: Annotated[str | None, typer.Option(help="How the model should answer.")] = None,
    url: UrlFlag = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Ask one thing; the answer appears while it comes. PARLEY_API_KEY is sent when set."""
    from deploy.local import chat as asking

    question = asking.Question(
        prompt=prompt,
        url=_gateway(url, data_dir),
        system=system,
        model=model,
        api_key=_api_key(),
    )
    try:
        asking.ask(question, lambda text: typer.echo(text, nl=False))
    finally:
        typer.echo()


@models_app.command()
def sync(
    *,
    url: UrlFlag = None,
    data_dir: DataDirFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Have every worker list its engine's models now, and print what has changed."""
    from deploy.local import model_sync

    gateway = _gateway(url, data_dir)
    body = model_sync.sync(gateway, _api_key())
    if as_json:
        typer.echo(json.dumps(body))
    else:
        for line in model_sync.lines(body):
            typer.echo(line)
    model_sync.refuse_failures(body)


@app.command()
def api() -> None:
    """Run one gateway in this process."""
    services.run("api")


@app.command()
def worker() -> None:
    """Run one inference worker in this process."""
    services.run("worker")


@app.command()
def history() -> None:
    """Run the history service in this process."""
    services.run("history")


@app.command()
def provision(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and repair what goes.")] = False,
) -> None:
    """Create the streams, consumers and buckets that Parley needs."""
    services.run("provision", watch=watch)


def main() -> None:
    """Run the command line; every expected failure is one sentence and a non-zero exit code."""
    try:
        app()
    except ModuleNotFoundError as error:
        _fail(MissingPart(f"{error.name} is not installed: `pip install 'parley[local]'`."))
    except LauncherError as error:
        _fail(error)


def _gateway(url: str | None, data_dir: Path | None) -> str:
    from deploy.local import running

    return (url or running.gateway(data_dir_of(data_dir))).rstrip("/")


def _api_key() -> str | None:
    from deploy.local import settings

    key = settings.LauncherSettings.from_environment(settings.read_environment()).api_key
    return key.get_secret_value() if key else None


def _fail(error: LauncherError) -> None:
    for line in error.details:
        _notice(f"  {line}")
    _notice(f"parley: {error}")
    sys.exit(error.exit_code)


def _say(line: str) -> None:
    # A reader that has gone (a closed terminal, `| head`) is no reason to stop.
    with contextlib.suppress(OSError):
        typer.echo(line)


def _notice(line: str) -> None:
    with contextlib.suppress(OSError):
        typer.echo(line, err=True)


if __name__ == "__main__":
    main()

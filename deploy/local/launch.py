"""``parley up``: find out what is there, build the topology, run it until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from deploy.local.data_dir import DataDir
from deploy.local.leftovers import stop_leftovers
from deploy.local.preparation import Options, Preparation
from deploy.local.process import Child
from deploy.local.readiness import wait_until_ready
from deploy.local.registry import Registry
from deploy.local.settings import LauncherSettings, unused_names
from deploy.local.spec import ChildSpec
from deploy.local.supervisor import MonotonicClock, Process, Supervisor
from deploy.local.topology import Topology


@dataclass(frozen=True, slots=True)
class Voice:
    """How the launcher talks."""

    result: Callable[[str], None]
    """The lines a user waits for."""
    notice: Callable[[str], None]
    """Everything else worth a line."""
    echo: Callable[[str], None] | None = None
    """The children's output, line by line, when it is wanted on the terminal."""


Prepare = Callable[[], Awaitable[Topology]]


def up(
    options: Options, settings: LauncherSettings, environment: Mapping[str, str], voice: Voice
) -> None:
    """Run Parley until SIGINT or SIGTERM; afterwards no process of it is left.

    Raises:
        LauncherError: it could not start, or a child died too often.
    """
    if unused := unused_names(environment):
        voice.notice(f"not used by Parley: {', '.join(unused)}")
    data = DataDir(settings.data_dir.absolute())
    launch(data, voice, Preparation(options, settings, environment, data, voice.notice).topology)


def launch(data: DataDir, voice: Voice, prepare: Prepare) -> None:
    """Run the topology that ``prepare`` finds, with ``data`` to itself; see :func:`up`."""
    data.create()
    with data.locked():
        if names := stop_leftovers(data.processes):
            voice.notice(f"stopped what a killed launcher had left: {', '.join(names)}")
        asyncio.run(_run(data, voice, prepare))


async def _run(data: DataDir, voice: Voice, prepare: Prepare) -> None:
    stop, hurry = _stop_signals(voice)
    plan = await prepare()
    registry = Registry(data.processes, plan.externals)

    def started(spec: ChildSpec, pid: int) -> None:
        try:
            registry.started(spec.name, pid, spec.url)
        except OSError as error:
            # Not knowing is better than not running.
            voice.notice(f"`parley ps` is out of date: {error}.")

    async def spawn(spec: ChildSpec) -> Process:
        return await Child.start(spec, data.logs, voice.echo)

    supervisor = Supervisor(
        spawn,
        wait_until_ready,
        clock=MonotonicClock(),
        say=voice.notice,
        started=started,
    )
    demo = any(spec.name == "engine" for stage in plan.stages for spec in stage)
    try:
        await supervisor.run(
            plan.stages, stop=stop, hurry=hurry, on_ready=partial(_greet, plan.url, demo, voice)
        )
    finally:
        registry.remove()


def _greet(url: str, demo: bool, voice: Voice) -> None:
    voice.result(f"Parley is ready: {url}")
    engine = "Answers come from the demo engine, not from a language model. " if demo else ""
    voice.result(f"{engine}Ctrl-C stops it.")


def _stop_signals(voice: Voice) -> tuple[asyncio.Event, asyncio.Event]:
    """Events for the first wish to stop, and for the second Ctrl-C."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        if not stop.is_set():
            voice.notice(
                "stopping; answers under way get their time (API_DRAIN_TIMEOUT). "
                "Ctrl-C once more kills what still runs."
            )
        stop.set()

    def interrupted() -> None:
        if stop.is_set():
            hurry.set()
        asked()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    # Only the second Ctrl-C kills: a SIGTERM may well come twice, from make and from its caller.
    loop.add_signal_handler(signal.SIGTERM, asked)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        loop.add_signal_handler(signal.SIGHUP, asked)
    return stop, hurry

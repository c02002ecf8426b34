"""The use cases of a gateway over its ports: plain construction, no container."""

from services.api.accounting import Accounting
from services.api.announcing import Announcing
from services.api.cancellations import CANCEL_ANSWER, Cancellations
from services.api.cancelling import Cancelling
from services.api.choices import Choices
from services.api.completions import Completions
from services.api.deps import State
from services.api.draining import Drain
from services.api.following import Following
from services.api.guests import Guests
from services.api.health import Health
from services.api.idempotency import Idempotency
from services.api.lingering import Lingering
from services.api.offered import OfferedModels
from services.api.orders import Patience, Timing
from services.api.presets import Presets
from services.api.queue_watch import QueueWatch
from services.api.resending import Resending
from services.api.room import Room
from services.api.rooms import Rooms
from services.api.running import Desk
from services.api.seating import Seating
from services.api.sessions import Sessions
from services.api.settings import Settings
from services.api.socket_gate import SocketGate, SocketTiming
from services.api.syncing import Syncing
from services.api.terminals import Terminals
from services.api.turn_feeds import TurnFeeds
from services.api.turn_lease import TurnLeases
from services.api.turns import ResolvedDefaults, Turns
from services.api.watching import Watching
from services.api.world import World
from shared.contracts.ids import SessionId, UserId


def build_state(
    settings: Settings, world: World, leases: TurnLeases, watching: Watching, drain: Drain
) -> State:
    """The use cases over the ports of ``world``."""
    api, deadlines = settings.api, settings.deadlines
    cancelling = Cancelling(
        world.tombstones,
        world.workers,
        world.queue,
        world.clock,
        patience=api.cancel_patience.total_seconds(),
    )
    terminals = Terminals(
        world.journal,
        world.announcements,
        world.background,
        world.clock,
        patience=api.cancel_patience.total_seconds(),
    )
    announcing = Announcing(world.live, world.history, world.background)
    lingering = Lingering(
        watching,
        world.watchers,
        world.journal,
        world.clock,
        grace=api.resume_grace.total_seconds(),
        silence=api.silence.total_seconds(),
    )
    desk = Desk(
        mailboxes=world.mailboxes,
        journal=world.journal,
        queue=world.queue,
        notes=world.notes,
        line=QueueWatch(world.depths, world.background, world.clock),
        seating=Seating(world.history, leases, announcing),
        terminals=terminals,
        cancelling=cancelling,
        background=world.background,
        drain=drain,
        clock=world.clock,
        watching=watching,
        lingering=lingering,
        resending=Resending(world.workers, world.background),
        announcing=announcing,
    )
    patience = Patience(
        waiting=deadlines.waiting_deadline.total_seconds(),
        generating=deadlines.generating_deadline.total_seconds(),
        silence=api.silence.total_seconds(),
        mailbox_bytes=api.mailbox_bytes,
        grace=api.resume_grace.total_seconds(),
    )
    completions = Completions(
        desk,
        broker=world.broker,
        workers=world.workers,
        known_models=world.known_models,
        catalog=world.catalog,
        backlog=world.backlog,
        frames=world.frames,
        patience=patience,
    )
    cancellations = Cancellations(
        cancelling,
        world.notes,
        terminals,
        world.journal,
        world.background,
        world.clock,
        patience=CANCEL_ANSWER,
    )
    following = Following(
        desk,
        feeds=world.feeds,
        frames=world.followed_frames,
        guests=Guests(desk),
        patience=patience,
    )
    turn_feeds = TurnFeeds(following, world.journal, world.clock)

    def make_room(user_id: UserId, session_id: SessionId) -> Room:
        return Room(
            user_id,
            session_id,
            live=world.live,
            feeds=turn_feeds,
            leases=leases,
            announcing=announcing,
            background=world.background,
        )

    sessions = Sessions(world.history, leases, cancelling, world.background, announcing)
    choices = Choices(world.asking, world.background, world.clock)
    offered = OfferedModels(world.catalog, world.known_models, choices, settings.llm)
    return State(
        accounting=Accounting(world.asking, world.clock, prices=api.prices, currency=api.currency),
        background=world.background,
        backlog=world.backlog,
        broker=world.broker,
        cancellations=cancellations,
        catalog=world.catalog,
        choices=choices,
        clock=world.clock,
        completions=completions,
        drain=drain,
        following=following,
        idempotency=Idempotency(world.keys, world.marks, world.journal, world.clock),
        journal=world.journal,
        health=Health(world.broker, world.history, world.catalog),
        sessions=sessions,
        live=world.live,
        models=offered,
        presets=Presets(world.asking, sessions),
        syncing=Syncing(world.catalog, world.relisting, world.background, world.clock),
        rooms=Rooms(
            make_room,
            feeds=turn_feeds,
            completions=completions,
            cancellations=cancellations,
            announcing=announcing,
            background=world.background,
        ),
        sockets=SocketGate(
            origins=api.cors_origins,
            per_user=api.sockets_per_user,
            timing=SocketTiming(
                idle=api.socket_idle.total_seconds(), send=api.send_timeout.total_seconds()
            ),
        ),
        timing=Timing(
            header_hold=api.header_hold.total_seconds(),
            ping_interval=api.ping_interval.total_seconds(),
            send_timeout=api.send_timeout.total_seconds(),
        ),
        turns=Turns(
            world.history,
            leases,
            world.catalog,
            ResolvedDefaults(choices, world.catalog, settings.llm),
            world.clock,
        ),
        body_timeout=api.body_timeout.total_seconds(),
        max_body_bytes=api.max_body_bytes,
    )

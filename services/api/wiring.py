"""The use cases of a gateway over its ports: plain construction, no container."""

from services.api.access.key_admin import KeyAdmin
from services.api.access.tickets import TicketOffice
from services.api.access.user_admin import UserAdmin
from services.api.completions.announcing import Announcing
from services.api.completions.cancellations import CANCEL_ANSWER, Cancellations
from services.api.completions.cancelling import Cancelling
from services.api.completions.completions import Completions
from services.api.completions.draining import Drain
from services.api.completions.following import Following
from services.api.completions.guests import Guests
from services.api.completions.idempotency import Idempotency
from services.api.completions.key_holding import KeyHolding
from services.api.completions.orders import Patience, Timing
from services.api.completions.orphans import Orphans
from services.api.completions.preflight import Preflight
from services.api.completions.queue_watch import QueueWatch
from services.api.completions.running import Desk
from services.api.completions.seating import Seating
from services.api.completions.terminals import Terminals
from services.api.completions.turn_lease import TurnLeases
from services.api.deps import State
from services.api.reports.accounting import Accounting
from services.api.reports.health import Health
from services.api.sessions.choices import Choices
from services.api.sessions.copying import Copying
from services.api.sessions.deleting import Deleting
from services.api.sessions.file_budget import FileBudget
from services.api.sessions.offered import OfferedModels
from services.api.sessions.presets import Presets
from services.api.sessions.resolving import ResolvedDefaults
from services.api.sessions.sessions import Sessions
from services.api.sessions.syncing import Syncing
from services.api.sessions.turns import Turns
from services.api.sessions.turnstile import Turnstile
from services.api.settings import Settings
from services.api.sockets.gate import SocketGate, SocketTiming
from services.api.sockets.room import Room
from services.api.sockets.rooms import Rooms
from services.api.sockets.turn_feeds import TurnFeeds
from services.api.streams.lingering import Lingering
from services.api.streams.resending import Resending
from services.api.streams.watching import Watching
from services.api.wiring_callers import access_of, limits_of
from services.api.world import World
from shared.contracts.history import GetSession
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
    terminals, orphans = _terminals_of(settings, world), orphans_of(settings, world)
    announcing = Announcing(world.live, world.background)
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
        seating=Seating(world.history, leases),
        terminals=terminals,
        orphans=orphans,
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
    limits = limits_of(settings, world)
    cancellations = Cancellations(
        cancelling,
        world.notes,
        terminals,
        world.journal,
        orphans,
        world.background,
        world.clock,
        patience=CANCEL_ANSWER,
    )
    tickets = TicketOffice(world.tickets, world.clock, lives=world.key_ring.lives)
    access = access_of(settings, world, tickets)
    completions = Completions(
        desk,
        preflight=Preflight(
            broker=world.broker,
            workers=world.workers,
            known_models=world.known_models,
            catalog=world.catalog,
            backlog=world.backlog,
        ),
        limits=limits,
        keys=KeyHolding(access.presence, cancellations, world.background),
        broker=world.broker,
        frames=world.frames,
        patience=patience,
    )
    following = Following(
        desk,
        feeds=world.feeds,
        frames=world.followed_frames,
        guests=Guests(desk),
        patience=patience,
    )
    turn_feeds = TurnFeeds(following, world.journal, world.clock)

    sessions = Sessions(world.history, leases)

    def make_room(user_id: UserId, session_id: SessionId) -> Room:
        return Room(
            user_id,
            session_id,
            live=world.live,
            feeds=turn_feeds,
            leases=leases,
            announcing=announcing,
            background=world.background,
            clock=world.clock.monotonic,
            must_exist=lambda: sessions.page_of(
                GetSession(user_id=user_id, session_id=session_id, limit=1)
            ),
        )

    choices = Choices(world.asking, world.background, world.clock)
    world.settings_feed.listen(choices.changed, choices.missed)
    offered = OfferedModels(world.catalog, world.known_models, choices, settings.llm)
    return State(
        access=access,
        accounting=Accounting(world.asking, world.clock, prices=api.prices, currency=api.currency),
        background=world.background,
        backlog=world.backlog,
        broker=world.broker,
        cancellations=cancellations,
        catalog=world.catalog,
        choices=choices,
        clock=world.clock,
        completions=completions,
        copying=Copying(sessions, world.history, world.clock),
        deleting=Deleting(
            sessions, world.history, leases, cancellations, world.background, announcing
        ),
        drain=drain,
        file_budget=FileBudget(settings.http.max_files_bytes),
        files=Turnstile(),
        following=following,
        idempotency=Idempotency(world.keys, world.marks, world.journal, world.clock),
        journal=world.journal,
        key_admin=KeyAdmin(world.asking),
        health=Health(world.broker, world.history, world.catalog),
        sessions=sessions,
        limits=limits,
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
            pace=limits.pace,
        ),
        sockets=SocketGate(
            per_user=api.sockets_per_user,
            timing=SocketTiming(
                idle=api.socket_idle.total_seconds(), send=api.send_timeout.total_seconds()
            ),
        ),
        tickets=tickets,
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
            max_payload=lambda: world.broker.max_payload,
        ),
        user_admin=UserAdmin(world.asking),
        body_deadline=settings.http.body_deadline.total_seconds(),
        body_timeout=api.body_timeout.total_seconds(),
        max_body_bytes=api.max_body_bytes,
        max_import_bytes=settings.http.max_import_bytes,
    )


def orphans_of(settings: Settings, world: World) -> Orphans:
    """Who ends what nobody has."""
    return Orphans(world.notes, world.workers, _terminals_of(settings, world))


def _terminals_of(settings: Settings, world: World) -> Terminals:
    patience = settings.api.cancel_patience.total_seconds()
    return Terminals(
        world.journal, world.announcements, world.background, world.clock, patience=patience
    )

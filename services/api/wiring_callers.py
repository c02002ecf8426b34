"""Who may call and how much, over the ports of ``world``: plain construction."""

from datetime import timedelta
from typing import Final

from services.api.access.addresses import ClientAddresses
from services.api.access.gateway_access import GatewayAccess
from services.api.access.identity import Identity
from services.api.access.origins import Origins
from services.api.access.presence import Presence
from services.api.access.provider_keys import ProviderKeys
from services.api.access.refusal_log import RefusalLog
from services.api.access.tickets import TicketOffice
from services.api.access.tokens import ProviderTokens, TokenRules
from services.api.limits.budget import Budget
from services.api.limits.budgets import Budgets
from services.api.limits.leases import Leases
from services.api.limits.limits import Allowed, Limits
from services.api.limits.metering import Metering
from services.api.limits.pace import Pace
from services.api.settings import Settings
from services.api.world import World

_SWEPT: Final = timedelta(minutes=5)
"""After all deadlines: history has closed by then what nobody else has."""


def access_of(settings: Settings, world: World, tickets: TicketOffice) -> GatewayAccess:
    """Who may come in."""
    api = settings.api
    presence = Presence(
        world.clock, lives=world.key_ring.lives, departing=world.departures.departing
    )
    world.key_ring.call_when_gone(presence.key_gone)
    world.departures.call_when_begun(presence.user_gone)
    return GatewayAccess(
        origins=Origins(hosts=api.names, origins=api.cors_origins),
        addresses=ClientAddresses(api.trusted_proxies),
        identity=Identity(api.auth, world.key_ring, _tokens(settings, world), tickets),
        presence=presence,
        departures=world.departures,
        refusals=RefusalLog(world.clock.monotonic),
    )


def _tokens(settings: Settings, world: World) -> ProviderTokens | None:
    oidc = settings.oidc
    if world.provider is None or oidc.issuer is None or oidc.audience is None:
        return None
    rules = TokenRules(
        issuer=oidc.issuer,
        audience=oidc.audience,
        algorithms=tuple(oidc.algorithms),
        leeway=oidc.leeway,
        user_claim=oidc.user_claim,
        roles_claim=oidc.roles_claim,
        admin_role=oidc.admin_role,
    )
    return ProviderTokens(rules, ProviderKeys(world.provider, world.background, world.clock))


def limits_of(settings: Settings, world: World) -> Limits:
    """How much of it."""
    api, deadlines = settings.api, settings.deadlines
    all_deadlines = deadlines.waiting_deadline + deadlines.generating_deadline
    return Limits(
        Allowed(
            requests_per_minute=api.requests_per_minute,
            concurrent=api.concurrent_requests,
            tokens_per_minute=api.tokens_per_minute,
            tokens_per_day=api.tokens_per_day,
        ),
        metering=Metering(world.meters, world.clock, world.background),
        budgets=Budgets(
            world.counters,
            world.asking,
            world.clock,
            world.background,
            prices=api.prices,
            currency=api.currency,
            of_each_user=Budget(api.tokens_per_month, api.money_per_month),
            of_users={
                user: Budget(own.tokens, own.money) for user, own in api.user_budgets.items()
            },
            lasts=(all_deadlines + _SWEPT).total_seconds(),
        ),
        leases=Leases(world.slots, world.background),
        pace=Pace(api.other_requests_per_minute, world.clock.monotonic),
        background=world.background,
    )

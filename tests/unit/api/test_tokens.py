"""Tokens of an identity provider, with real keys from a real server."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError
from structlog.testing import capture_logs

from services.api.access.provider_keys import ALGORITHMS, ProviderKeys
from services.api.access.refusals import IdentityUnavailable, NotAuthenticated
from services.api.access.tokens import ProviderTokens, TokenRules
from services.api.adapters.http_identity_provider import HttpIdentityProvider
from services.api.background import Background
from services.api.oidc_settings import OidcSettings
from services.api.ports.identity_provider import ProviderAway
from tests.fakes.api.ports import SetClock
from tests.support.identity_provider import AUDIENCE, IdentityProvider, SigningKey, part
from tests.support.waiting import eventually

RSA, EC, ED = SigningKey("rsa", "RS256"), SigningKey("ec", "ES256"), SigningKey("ed", "EdDSA")
STRANGER = SigningKey("rsa", "RS256")
LEEWAY = 30


@dataclass
class Scene:
    """A provider, and who takes its tokens."""

    provider: IdentityProvider
    tokens: ProviderTokens
    clock: SetClock

    async def refuses(self, token: str) -> None:
        with pytest.raises(NotAuthenticated) as refused:
            await self.tokens.find(token)
        # One sentence for everything: it must not help who makes tokens up.
        assert refused.value.message == "This token is not valid."


def tokens_of(
    issuer: str, clock: SetClock, background: Background, **rules: object
) -> ProviderTokens:
    wanted: dict[str, Any] = {
        "issuer": issuer, "audience": AUDIENCE, "algorithms": ALGORITHMS,
        "leeway": timedelta(seconds=LEEWAY), "user_claim": "sub", "roles_claim": "roles",
        "admin_role": "admin", **rules,
    }  # fmt: skip
    keys = ProviderKeys(HttpIdentityProvider(issuer, None), background, clock)
    return ProviderTokens(TokenRules(**wanted), keys)


@pytest.fixture
async def background() -> AsyncGenerator[Background]:
    made = Background()
    yield made
    await made.aclose(0)


@pytest.fixture
async def scene(background: Background) -> AsyncGenerator[Scene]:
    async with IdentityProvider() as provider:
        provider.keys = [RSA.public(), EC.public(), ED.public()]
        clock = SetClock()
        yield Scene(provider, tokens_of(provider.issuer, clock, background), clock)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_a_good_token_names_its_user_until_it_ends(scene: Scene, key: SigningKey) -> None:
    claims = scene.provider.claims()
    caller = await scene.tokens.find(key.sign(claims))
    assert caller.user_id == "alice"
    assert caller.roles == frozenset()
    assert caller.models == ("*",)
    expected = datetime.fromtimestamp(claims["exp"] + LEEWAY, UTC)
    assert caller.expires_at == expected


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
async def test_a_key_without_an_algorithm_signs_by_all_of_its_kind(
    scene: Scene, algorithm: str
) -> None:
    token = RSA.sign(scene.provider.claims(), algorithm=algorithm)
    assert (await scene.tokens.find(token)).user_id == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-service"},
        {"aud": None},
        {"aud": []},
        {"exp": 0},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 10**30},
        {"exp": int(time.time()) - LEEWAY - 5},
        {"nbf": int(time.time()) + 600},
        {"nbf": "never"},
        {"iat": int(time.time()) + 600},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\0b"},
        {"sub": "x" * 129},
        {"sub": "anon-0123"},
    ],
    ids=range(19),
)
async def test_a_signed_token_that_is_not_for_us_or_not_now_is_refused(
    scene: Scene, changes: dict[str, Any]
) -> None:
    await scene.refuses(RSA.sign(scene.provider.claims(**changes)))


async def test_clocks_may_differ_by_the_leeway(scene: Scene) -> None:
    now = int(time.time())
    for changes in ({"exp": now - LEEWAY + 10}, {"nbf": now + LEEWAY - 10}):
        claims = scene.provider.claims(**changes)
        assert (await scene.tokens.find(RSA.sign(claims))).user_id == "alice"


async def test_a_token_without_a_signature_is_refused(scene: Scene) -> None:
    claims = scene.provider.claims()
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        head = part({"alg": algorithm, "kid": "rsa"})
        await scene.refuses(f"{head}.{part(claims)}.")
        await scene.refuses(f"{head}.{part(claims)}.{part(b'x')}")
    signed = RSA.sign(claims)
    await scene.refuses(signed.rpartition(".")[0] + ".")


async def test_a_public_key_is_no_shared_secret(scene: Scene) -> None:
    # The key confusion: HMAC with the text of a key that everybody can read.
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    encodings = [
        RSA.private.public_key().public_bytes(encoding, form)
        for encoding, form in (
            (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            (serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        )
    ]
    for algorithm in ("HS256", "HS384", "HS512"):
        hmac = jwt.get_algorithm_by_name(algorithm)
        for secret in encodings:
            head = part({"alg": algorithm, "kid": "rsa", "typ": "JWT"})
            signed = f"{head}.{part(scene.provider.claims())}"
            signature = part(hmac.sign(signed.encode(), secret))
            await scene.refuses(f"{signed}.{signature}")
    assert scene.provider.asked == []


async def test_a_published_secret_is_not_used(scene: Scene) -> None:
    scene.provider.keys.append({"kty": "oct", "k": part(b"x" * 32), "kid": "shared"})
    token = jwt.encode(scene.provider.claims(), b"x" * 32, "HS256", headers={"kid": "shared"})
    await scene.refuses(token)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
async def test_a_token_does_not_say_where_its_key_is(
    scene: Scene, background: Background, name: str
) -> None:
    async with IdentityProvider() as evil:
        evil.keys = [STRANGER.public()]
        value: Any = {
            "jwk": STRANGER.public(),
            "jku": f"{evil.issuer}/keys",
            "x5u": f"{evil.issuer}/keys",
            "x5c": [part(b"certificate")],
        }[name]
        await scene.refuses(STRANGER.sign(scene.provider.claims(), **{name: value}))
        good = RSA.sign(scene.provider.claims(), **{name: value})
        assert (await scene.tokens.find(good)).user_id == "alice"
        assert evil.asked == []


@pytest.mark.parametrize(
    "key_id", ["../../etc/passwd", "rsa' OR 1=1", "rsa\0", "http://127.0.0.1/", "x" * 5000, ""]
)
async def test_an_id_of_a_key_is_only_compared(scene: Scene, key_id: str) -> None:
    await scene.refuses(STRANGER.sign(scene.provider.claims(), kid=key_id))
    assert set(scene.provider.asked) == {"/.well-known/openid-configuration", "/keys"}


async def test_a_key_of_another_kind_or_algorithm_does_not_fit(scene: Scene) -> None:
    claims = scene.provider.claims()
    await scene.refuses(EC.sign(claims, kid="rsa"))
    await scene.refuses(ED.sign(claims, kid="ec"))
    await scene.refuses(STRANGER.sign(claims))


async def test_a_key_that_names_its_algorithm_signs_by_no_other(scene: Scene) -> None:
    scene.provider.keys = [RSA.public(alg="RS256")]
    claims = scene.provider.claims()
    assert (await scene.tokens.find(RSA.sign(claims))).user_id == "alice"
    await scene.refuses(RSA.sign(claims, algorithm="PS256"))


async def test_keys_that_are_no_longer_published_are_forgotten_when_the_known_ones_are_old(
    scene: Scene,
) -> None:
    claims = scene.provider.claims()
    await scene.tokens.find(RSA.sign(claims))
    scene.provider.keys = [EC.public()]
    scene.clock.time += 601

    async def refused() -> bool:
        try:
            await scene.tokens.find(RSA.sign(claims))
        except NotAuthenticated:
            return True
        return False

    await eventually(refused)
    assert (await scene.tokens.find(EC.sign(claims))).user_id == "alice"


async def test_a_provider_that_says_nothing_is_given_up(scene: Scene) -> None:
    scene.provider.silent = True
    provider = HttpIdentityProvider(scene.provider.issuer, None, deadline=0.2)
    with pytest.raises(ProviderAway):
        await provider.keys()


@pytest.mark.parametrize(
    "mark", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"kty": "EC"}, {"n": "AQAB"}, {"n": 5}]
)
async def test_a_key_that_is_not_for_signatures_or_damaged_is_not_used(
    scene: Scene, mark: dict[str, Any]
) -> None:
    scene.provider.keys = [RSA.public(**mark)]
    await scene.refuses(RSA.sign(scene.provider.claims()))


async def test_a_weak_key_is_not_used(scene: Scene) -> None:
    weak = SigningKey("weak", "RS256", rsa.generate_private_key(65537, 1024))  # noqa: S505
    scene.provider.keys = [weak.public()]
    with pytest.warns(UserWarning, match="RSA key"):
        token = weak.sign(scene.provider.claims())
    await scene.refuses(token)


async def test_an_algorithm_that_was_not_chosen_is_refused(
    scene: Scene, background: Background
) -> None:
    only = tokens_of(scene.provider.issuer, scene.clock, background, algorithms=("ES256",))
    assert (await only.find(EC.sign(scene.provider.claims()))).user_id == "alice"
    with pytest.raises(NotAuthenticated):
        await only.find(RSA.sign(scene.provider.claims()))


@pytest.mark.parametrize(
    "token",
    ["..", "a.b.c", "a.b", "a.b.c.d", f"{part({'alg': 'RS256'})}.x.y", f"{part([])}.{part({})}.x",
     f"{part(b'{')}.{part({})}.x", f"{part({'alg': ['RS256']})}.{part({})}.x",
     f"{part({'alg': 'RS256', 'kid': 5})}.{part({})}.x", "." * 40_000, "é.é.é"],
    ids=range(11),
)  # fmt: skip
async def test_what_is_no_token_is_refused(scene: Scene, token: str) -> None:
    await scene.refuses(token)


async def test_a_token_with_an_extension_that_must_be_understood_is_refused(scene: Scene) -> None:
    await scene.refuses(RSA.sign(scene.provider.claims(), crit=["exp"], exp=1))


async def test_without_an_id_the_only_fitting_key_counts(scene: Scene) -> None:
    claims = scene.provider.claims()
    assert (await scene.tokens.find(RSA.sign(claims, kid=None))).user_id == "alice"
    scene.provider.keys = [RSA.public(), {**STRANGER.public(), "kid": "second"}]
    fresh = tokens_of(scene.provider.issuer, scene.clock, Background())
    with pytest.raises(NotAuthenticated):
        await fresh.find(RSA.sign(claims, kid=None))


async def test_new_keys_are_read_when_a_token_names_one(scene: Scene) -> None:
    claims = scene.provider.claims()
    await scene.tokens.find(RSA.sign(claims))
    turned = SigningKey("new", "RS256")
    scene.provider.keys = [turned.public()]
    scene.clock.time += 60

    assert (await scene.tokens.find(turned.sign(claims))).user_id == "alice"
    await scene.refuses(RSA.sign(claims))


async def test_made_up_key_ids_do_not_send_us_to_the_provider_each_time(scene: Scene) -> None:
    claims = scene.provider.claims()
    await scene.tokens.find(RSA.sign(claims))
    scene.clock.time += 60
    await asyncio.gather(*(scene.refuses(RSA.sign(claims, kid=f"made-up-{n}")) for n in range(50)))
    assert scene.provider.asked.count("/keys") == 2
    scene.clock.time += 60
    await scene.refuses(RSA.sign(claims, kid="made-up"))
    assert scene.provider.asked.count("/keys") == 3


async def test_many_first_tokens_read_the_keys_once(scene: Scene) -> None:
    claims = scene.provider.claims()
    found = await asyncio.gather(*(scene.tokens.find(RSA.sign(claims)) for _ in range(20)))
    assert len(found) == 20
    assert scene.provider.asked.count("/keys") == 1


async def test_known_keys_go_on_while_the_provider_is_away(scene: Scene) -> None:
    claims = scene.provider.claims()
    await scene.tokens.find(RSA.sign(claims))
    scene.provider.stop()
    scene.clock.time += 7200
    for _ in range(3):
        assert (await scene.tokens.find(RSA.sign(claims))).user_id == "alice"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"keys": 5}', b" " * (2**20 + 1)])
async def test_without_any_key_it_cannot_be_told_until_the_provider_answers(
    scene: Scene, body: bytes
) -> None:
    token = RSA.sign(scene.provider.claims())
    scene.provider.body = body
    with pytest.raises(IdentityUnavailable):
        await scene.tokens.find(token)
    scene.provider.body = None
    scene.clock.time += 2
    assert (await scene.tokens.find(token)).user_id == "alice"


async def test_a_set_of_very_many_keys_is_not_taken(scene: Scene) -> None:
    token = RSA.sign(scene.provider.claims())
    scene.provider.keys += [{"kty": "oct"}] * 1000
    with pytest.raises(IdentityUnavailable):
        await scene.tokens.find(token)


async def test_keys_are_not_unpacked(scene: Scene) -> None:
    # A few thousand bytes may become gigabytes.
    scene.provider.body = gzip.compress(json.dumps({"keys": [RSA.public()]}).encode())
    scene.provider.encoding = "gzip"
    with pytest.raises(IdentityUnavailable):
        await scene.tokens.find(RSA.sign(scene.provider.claims()))


async def test_a_provider_that_is_not_there_is_not_asked_by_every_token(
    background: Background,
) -> None:
    clock = SetClock()
    async with IdentityProvider() as provider:
        tokens = tokens_of(provider.issuer, clock, background)
        token = RSA.sign(provider.claims())
        provider.body = b"?"
        for _ in range(5):
            with pytest.raises(IdentityUnavailable):
                await tokens.find(token)
        assert provider.asked.count("/keys") == 1


async def test_a_discovery_document_of_another_issuer_is_not_believed(
    scene: Scene, background: Background
) -> None:
    named_differently = scene.provider.issuer.replace("127.0.0.1", "localhost")
    tokens = tokens_of(named_differently, scene.clock, background)
    with pytest.raises(IdentityUnavailable):
        await tokens.find(RSA.sign(scene.provider.claims(iss=named_differently)))
    assert "/keys" not in scene.provider.asked


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("roles", {"roles": ["admin", "dev", 5]}, {"admin", "dev"}),
        ("roles", {"roles": "admin dev"}, {"admin", "dev"}),
        ("roles", {"roles": {"admin": True}}, set()),
        ("roles", {}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["dev"]}}, {"dev"}),
        ("realm_access.roles", {"realm_access": "admin"}, set()),
        ("https://x.example/roles", {"https://x.example/roles": ["admin"]}, {"admin"}),
    ],
)
async def test_roles_come_from_the_claim_that_was_chosen(
    scene: Scene, background: Background, path: str, claims: dict[str, Any], roles: set[str]
) -> None:
    tokens = tokens_of(scene.provider.issuer, scene.clock, background, roles_claim=path)
    caller = await tokens.find(RSA.sign(scene.provider.claims(**claims)))
    assert caller.roles == roles


async def test_administrators_have_the_role_that_was_chosen_and_no_other(
    scene: Scene, background: Background
) -> None:
    tokens = tokens_of(
        scene.provider.issuer, scene.clock, background, admin_role="ops", user_claim="email"
    )
    claims = scene.provider.claims(email="a@example.com", roles=["admin"])
    caller = await tokens.find(RSA.sign(claims))
    assert (caller.user_id, caller.roles) == ("a@example.com", frozenset())
    boss = await tokens.find(RSA.sign({**claims, "roles": ["ops"]}))
    assert "admin" in boss.roles


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://id.example"},
        {"issuer": "http://id.example", "audience": "a"},
        {"issuer": "id.example", "audience": "a"},
        {"issuer": "https://id.example", "audience": "a", "jwks_url": "http://id.example/keys"},
        {"algorithms": "HS256"},
        {"algorithms": "none"},
        {"algorithms": ""},
        {"leeway": "61s"},
    ],
)
def test_settings_that_would_let_in_too_many_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        OidcSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "another-service"}, "InvalidAudienceError"),
        ({"iss": "https://evil.example"}, "InvalidIssuerError"),
        ({"exp": 1}, "ExpiredSignatureError"),
        ({"sub": ""}, "sub"),
    ],
)
async def test_who_set_up_the_provider_finds_why_a_token_is_refused_in_the_log(
    scene: Scene, changes: dict[str, Any], reason: str
) -> None:
    token = RSA.sign({**scene.provider.claims(), **changes})
    with capture_logs() as lines:
        await scene.refuses(token)
    (line,) = [line for line in lines if line["event"] == "token_refused"]
    assert line == {"event": "token_refused", "reason": reason, "log_level": "debug"}


async def test_a_key_that_nobody_publishes_is_in_the_log_too(scene: Scene) -> None:
    with capture_logs() as lines:
        await scene.refuses(STRANGER.sign(scene.provider.claims()))
    assert [line["log_level"] for line in lines if line["event"] == "token_refused"] == ["debug"]

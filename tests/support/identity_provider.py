"""An identity provider with real keys, on a real port, that a test can turn and take away."""

import asyncio
import base64
import json
import time
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
AUDIENCE = "parley"


class SigningKey:
    """A key pair under an id."""

    def __init__(self, key_id: str, algorithm: str, private: PrivateKey | None = None) -> None:
        self.key_id, self.algorithm = key_id, algorithm
        self.private = private or _made(algorithm)

    def public(self, **more: object) -> dict[str, Any]:
        """As the provider publishes it."""
        handler = jwt.get_algorithm_by_name(self.algorithm)
        key = json.loads(handler.to_jwk(self.private.public_key()))
        key.pop("key_ops", None)
        return {**key, "kid": self.key_id, "use": "sig", **more}

    def sign(
        self, claims: dict[str, Any], *, algorithm: str | None = None, **headers: object
    ) -> str:
        """A token; ``kid=None`` leaves the id out."""
        head: dict[str, Any] = {"kid": self.key_id, **headers}
        named = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(claims, self.private, algorithm or self.algorithm, headers=named)


def _made(algorithm: str) -> PrivateKey:
    if algorithm.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[algorithm])


def part(value: object) -> str:
    """A part of a token that somebody makes by hand."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class IdentityProvider:
    """``async with IdentityProvider() as provider: provider.keys.append(key)``."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.silent = False
        """It takes connections and says nothing."""
        self.body: bytes | None = None
        """What it says instead of its keys."""
        self.encoding = "identity"
        """How it says that this is encoded."""
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def issuer(self) -> str:
        """Its address, and name."""
        return f"http://127.0.0.1:{self._port}"

    def claims(self, **changes: object) -> dict[str, Any]:
        """Of a good token; ``None`` leaves one out."""
        now = int(time.time())
        good = {
            "iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now,
            "exp": now + 300, **changes,
        }  # fmt: skip
        return {name: value for name, value in good.items() if value is not None}

    async def start(self) -> None:
        """Answer, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Be away."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        self.asked.append(path)
        if self.silent:
            await reader.read()
            writer.close()
            return
        if path.endswith("openid-configuration"):
            answer: object = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        else:
            answer = {"keys": self.keys}
        body = json.dumps(answer).encode()
        encoding = "identity"
        if path == "/keys" and self.body is not None:
            body, encoding = self.body, self.encoding
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (encoding.encode(), len(body), body)
        )
        await writer.drain()
        writer.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

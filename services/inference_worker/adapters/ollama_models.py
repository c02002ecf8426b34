"""What an Ollama engine has: ``/api/tags``, ``/api/show``, ``/api/ps``, ``/api/version``."""

import asyncio
import re
import time
from typing import Final

import ollama
import structlog

from services.inference_worker.adapters.ollama_client import OllamaClient
from services.inference_worker.adapters.ollama_errors import translated
from services.inference_worker.offering_ports import EngineView
from shared.contracts.subjects import full_model_name
from shared.contracts.workers import EngineState, ModelCard
from shared.errors import EngineError

_NUM_CTX: Final = re.compile(r"^num_ctx\s+(\d+)", re.MULTILINE)
_COMPLETION: Final = "completion"
_LONGEST_NAME: Final = 255
_LONGEST_WORD: Final = 128
_MOST_CAPABILITIES: Final = 32
_MOST_MODELS: Final = 2000
"""All that an engine says of its models goes into one message, every few seconds."""
_LARGEST_WINDOW: Final = 2**31 - 1
_DAMAGED: Final = (
    ollama.ResponseError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What comes of a description that is refused or of another shape."""

log = structlog.stdlib.get_logger(__name__)


class OllamaModels:
    """``EngineModels`` over Ollama; remembers by digest what a model is."""

    def __init__(self, client: OllamaClient, url: str, *, timeout: float) -> None:
        self._client = client
        self._url = url
        self._timeout = timeout
        self._cards: dict[str, ModelCard | None] = {}
        self._fingerprints: dict[str, str] = {}

    def fingerprint(self, model: str) -> str:
        """The weights behind a name and the version that runs them, as last seen."""
        return self._fingerprints.get(model, model)

    async def look(self) -> EngineView:
        """Ask the engine; see ``EngineModels``."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                version = await self._client.version()
                latency = 1000 * (time.monotonic() - started)
                models = await self._models(version)
        except TimeoutError as error:
            message = f"The engine did not answer within {self._timeout:g} s."
            raise EngineError(message) from error
        except Exception as error:
            # Whatever an engine says, it must not end the worker.
            failure = translated(error, begun=False)
            raise EngineError(failure.message) from error
        state = EngineState(
            url=self._url, ok=True, version=_word(version) or None, latency_ms=round(latency, 1)
        )
        return EngineView(state, models)

    async def _models(self, version: str) -> list[ModelCard]:
        listed = (await self._client.list()).models
        if len(listed) > _MOST_MODELS:
            log.warning("models_left_out", offered=_MOST_MODELS, listed=len(listed))
            listed = listed[:_MOST_MODELS]
        self._fingerprints = {
            full_model_name(model.model or ""): f"ollama {_word(version)} {_word(model.digest)}"
            for model in listed
            if model.digest
        }
        loaded = {
            full_model_name(model.name or model.model or ""): _window(model.context_length or 0)
            for model in (await self._client.ps()).models
        }
        cards = []
        for model in listed:
            card = await self._card(model)
            if card is not None:
                window = loaded.get(card.name) or card.context_length
                cards.append(card.model_copy(update={"context_length": window}))
        self._forget({model.digest or "" for model in listed})
        return cards

    async def _card(self, model: ollama.ListResponse.Model) -> ModelCard | None:
        name = full_model_name(model.model or "")
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            log.info("model_passed_over", model=_word(name), error="its name cannot be shown")
            return None
        key = f"{model.digest}"
        if key not in self._cards:
            try:
                self._cards[key] = _card(model, await self._client.show(model.model or ""))
            except _DAMAGED as error:
                # Removed since it was listed, or damaged: the others can be served all the same.
                log.info("model_passed_over", model=name, error=type(error).__name__)
                return None
        card = self._cards[key]
        # Two names may stand for the same digest.
        return card.model_copy(update={"name": name}) if card else None

    def _forget(self, digests: set[str]) -> None:
        for digest in set(self._cards) - digests:
            del self._cards[digest]


def _card(model: ollama.ListResponse.Model, shown: ollama.ShowResponse) -> ModelCard | None:
    """``None`` for a model that cannot chat, such as one that only makes embeddings."""
    capabilities = shown.capabilities or []
    if shown.capabilities is not None and _COMPLETION not in capabilities:
        return None
    details = shown.details or model.details
    text = {
        field: _word(str(getattr(details, field, None) or ""))
        for field in ("family", "format", "parameter_size", "quantization_level")
    }
    return ModelCard(
        name=full_model_name(model.model or ""),
        family=text["family"],
        format=text["format"].upper(),
        parameter_size=text["parameter_size"],
        quantization_level=text["quantization_level"],
        context_length=_context_length(shown),
        capabilities=[
            _word(name) for name in capabilities[:_MOST_CAPABILITIES] if name != _COMPLETION
        ],
        modified_at=int(model.modified_at.timestamp()) if model.modified_at else 0,
    )


def _context_length(shown: ollama.ShowResponse) -> int | None:
    """What the model's own parameters ask for, else what it was trained for."""
    asked = _NUM_CTX.search(shown.parameters or "")
    if asked:
        return _window(int(asked[1]))
    info = shown.modelinfo or {}
    trained = info.get(f"{info.get('general.architecture')}.context_length")
    return _window(int(trained)) if trained else None


def _window(tokens: int) -> int | None:
    return tokens if 0 < tokens <= _LARGEST_WINDOW else None


def _word(text: str) -> str:
    """As much of it as may be shown; half a character could not even be sent on."""
    return "".join(filter(str.isprintable, text[:_LONGEST_WORD]))

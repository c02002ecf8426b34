"""The catalogue: which models the engine has, and what Ollama's API says of each."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

Continuation = Literal["exact", "never", "diverging"]

_MODIFIED_AT = "2026-11-01T12:00:00.000000000Z"
_RENEWED_AT = "2026-11-02T12:00:00.000000000Z"
_TEMPLATE = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}\n{{ end }}"


@dataclass(frozen=True)
class Model:
    """One model; ``continuation`` is what it makes of a trailing assistant message."""

    name: str
    summary: str
    capabilities: tuple[str, ...] = ("completion",)
    trained_context: int = 131_072
    loaded_context: int = 32_768
    parameter_count: int = 1_234_567_890
    first_token_ms: float | None = None
    continuation: Continuation = "exact"
    renewed: bool = False
    """Whether it stands for another version of its weights than at the start."""

    @property
    def full_name(self) -> str:
        """The name with its tag."""
        return f"{self.name}:latest"

    @property
    def digest(self) -> str:
        """What stands for the digest of the model's manifest: 64 hexadecimal digits."""
        return hashlib.sha256(f"{self.full_name}{'!' * self.renewed}".encode()).hexdigest()

    @property
    def modified_at(self) -> str:
        """When it was pulled."""
        return _RENEWED_AT if self.renewed else _MODIFIED_AT

    @property
    def size(self) -> int:
        """Bytes that the model would take on disk and in memory."""
        return self.parameter_count // 2

    @property
    def thinks(self) -> bool:
        """Whether the model thinks before it answers."""
        return "thinking" in self.capabilities

    @property
    def sees(self) -> bool:
        """Whether the model looks at images."""
        return "vision" in self.capabilities

    def window(self, num_ctx: int | None) -> int:
        """Tokens of context when loaded with the option ``num_ctx`` (None: as usual).

        Bounded as Ollama's scheduler bounds it: at least 4, with vision at least 2048, and at
        most what the model was trained for.
        """
        least = 2048 if self.sees else 4
        return min(self.trained_context, max(least, num_ctx or self.loaded_context))

    def details(self) -> dict[str, Any]:
        """The ``details`` of ``/api/tags``, ``/api/ps`` and ``/api/show``."""
        return {
            "parent_model": "",
            "format": "gguf",
            # Its name: lists show models by family and size, and all are of one size here.
            "family": self.name,
            "families": [self.name],
            "parameter_size": f"{self.parameter_count / 1e9:.1f}B",
            "quantization_level": "Q4_K_M",
        }

    def tag(self) -> dict[str, Any]:
        """The model's entry in ``/api/tags``."""
        return {
            "name": self.full_name,
            "model": self.full_name,
            "modified_at": self.modified_at,
            "size": self.size,
            "digest": self.digest,
            "details": self.details()
            | {"context_length": self.trained_context, "embedding_length": 2048},
            "capabilities": list(self.capabilities),
        }

    def show(self) -> dict[str, Any]:
        """The answer of ``/api/show``."""
        parameters = {"num_ctx": self.loaded_context, "temperature": 0.8}
        return {
            "license": "Part of Parley; there are no weights behind this name.",
            "modelfile": f"# {self.summary}\nFROM {self.full_name}\nTEMPLATE {_TEMPLATE}\n",
            "parameters": "\n".join(f"{key:<30} {value}" for key, value in parameters.items()),
            "template": _TEMPLATE,
            "details": self.details(),
            "model_info": {
                "general.architecture": "demo",
                "general.basename": self.name,
                "general.parameter_count": self.parameter_count,
                "general.quantization_version": 2,
                "demo.context_length": self.trained_context,
                "demo.embedding_length": 2048,
                "demo.block_count": 16,
                "tokenizer.ggml.model": "demo",
            },
            "capabilities": list(self.capabilities),
            "modified_at": self.modified_at,
        }


CATALOGUE: tuple[Model, ...] = (
    Model("demo", "Answers in plain text."),
    Model("demo-slow", "Takes its time before the first token.", first_token_ms=2000),
    Model("demo-thinking", "Thinks first.", ("completion", "thinking")),
    Model("demo-tools", "Calls tools.", ("completion", "tools")),
    Model("demo-vision", "Looks at the heads of image files.", ("completion", "vision")),
    Model("demo-json", "Answers in JSON; the others do too, when asked with `format`."),
    Model("demo-nocontinue", "Starts anew after a trailing assistant message.",
          continuation="never"),
    Model("demo-diverge", "Never says the same thing twice.", continuation="diverging"),
    Model("demo-small", "Has a context of 512 tokens.", trained_context=512, loaded_context=512,
          parameter_count=123_456_789),
)  # fmt: skip

_BY_NAME = {model.full_name: model for model in CATALOGUE}


def find_model(name: str) -> Model | None:
    """The model of that name; a name without a tag means ``:latest``."""
    tagged = name if ":" in name else f"{name}:latest"
    return _BY_NAME.get(tagged.lower())


class Shelf:
    """The models that are there now: the catalogue without what was removed."""

    def __init__(self) -> None:
        self._absent: frozenset[str] = frozenset()
        self._renewed: frozenset[str] = frozenset()

    def arrange(self, *, absent: Collection[Model], renewed: Collection[Model]) -> None:
        """From now on these are not there, or new; all others are as at the start."""
        self._absent = frozenset(model.name for model in absent)
        self._renewed = frozenset(model.name for model in renewed)

    def models(self) -> list[Model]:
        """All of them."""
        return [
            replace(model, renewed=model.name in self._renewed)
            for model in CATALOGUE
            if model.name not in self._absent
        ]

    def find(self, name: str) -> Model | None:
        """As ``find_model``, among those that are there."""
        model = find_model(name)
        return next((it for it in self.models() if model and it.name == model.name), None)

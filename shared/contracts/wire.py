"""The form of what crosses NATS: frozen, tolerant of unknown fields, changed by adding only."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class WireModel(BaseModel):
    """A message between services. Fields are added, never renamed or given a new meaning."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """JSON without the fields that are ``None``: absent and null mean the same."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse what ``to_bytes`` of this or a newer version wrote.

        Raises:
            pydantic.ValidationError: the bytes are not JSON of this shape.
        """
        return cls.model_validate_json(data)

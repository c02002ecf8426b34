"""The messages of a completion request, as OpenAI has them."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from services.api.schemas.model import RequestModel, Text

_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]", re.IGNORECASE)


class ImageUrl(RequestModel):
    """An image: a ``data:image/…;base64,`` URL."""

    url: Text
    detail: Text | None = None

    @field_validator("url")
    @classmethod
    def _is_data(cls, url: str) -> str:
        if _IMAGE.match(url) is None:
            message = (
                "Images are sent as data URLs (data:image/png;base64,...); "
                "addresses are not fetched."
            )
            raise ValueError(message)
        return url


class Part(RequestModel):
    """A piece of a message: text or an image."""

    type: Literal["text", "image_url"]
    text: Text | None = None
    image_url: ImageUrl | None = None

    @field_validator("image_url", mode="before")
    @classmethod
    def _plain_address_is_an_object(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_its_field(self) -> Self:
        if self.type == "text" and self.text is None:
            raise ValueError("A text part needs the field text.")
        if self.type == "image_url" and self.image_url is None:
            raise ValueError("An image_url part needs the field image_url.")
        return self


class CalledFunction(RequestModel):
    """The function of a tool call."""

    name: Annotated[Text, Field(min_length=1, max_length=256)]
    arguments: Text = "{}"


class RequestToolCall(RequestModel):
    """A call that the assistant made earlier in the conversation."""

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


def _kind_of_content(value: object) -> str:
    return "<parts>" if isinstance(value, list) else "<text>"


Content = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Part], Tag("<parts>"), Field(min_length=1, fail_fast=True)],
    Discriminator(_kind_of_content),
]


class RequestMessage(RequestModel):
    """One message; ``content`` may be absent only beside ``tool_calls``."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Content | None = None
    name: Text | None = None
    tool_calls: Annotated[list[RequestToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("A message needs content.")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("A tool message needs tool_call_id.")
        return self

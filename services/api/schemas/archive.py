"""A session as a file: what is exported is what can be imported."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from services.api.schemas.messages import CalledFunction, Content
from services.api.schemas.model import AnswerModel, Flag, Moment, RequestModel, Text
from services.api.schemas.sessions import MessageBody, SettingsRequest, Title
from shared.contracts.chat import FinishReason, Role

VERSION: Literal[1] = 1
MOST_MESSAGES = 20_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2999, 12, 31, tzinfo=UTC)


def _of_ours(moment: datetime) -> datetime:
    try:
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("There is no such time.") from error
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("A message is of a time between 1970 and 2999.")
    return moment


Given = Annotated[datetime, AfterValidator(_of_ours)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]


class ExportBody(AnswerModel):
    """All of a session: every branch, each message after its parent."""

    format: Literal["parley-session"] = "parley-session"
    format_version: Literal[1] = VERSION
    title: str
    created_at: Moment
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    tools: list[str] | None = None
    active_leaf: str | None = None
    messages: list[MessageBody]


class ImportedCall(RequestModel):
    """A call that the assistant made."""

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class ImportedUsage(RequestModel):
    """Tokens that an answer took."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    estimated: Flag = False


class ImportedMessage(RequestModel):
    """A message of an export; what is not listed is left out."""

    id: Annotated[Text, Field(min_length=1, max_length=64)]
    role: Role
    content: Content
    created_at: Given
    parent_id: Annotated[Text, Field(max_length=64)] | None = None
    model: Annotated[Text, Field(max_length=256)] | None = None
    thinking: Text | None = None
    status: Literal["completed", "failed", "cancelled", "expired"] | None = None
    finish_reason: FinishReason | None = None
    usage: ImportedUsage | None = None
    attempts: Count | None = None
    continued_at: Annotated[list[Count], Field(max_length=1000, fail_fast=True)] | None = None
    context_omitted: Count | None = None
    tool_calls: Annotated[list[ImportedCall], Field(fail_fast=True)] | None = None
    tool_call_id: Text | None = None


class ImportRequest(SettingsRequest):
    """A session that was exported, from here or elsewhere."""

    format: Literal["parley-session"]
    format_version: Literal[1] = VERSION
    title: Title | None = None
    created_at: Given | None = None
    active_leaf: Annotated[Text, Field(max_length=64)] | None = None
    messages: Annotated[list[ImportedMessage], Field(max_length=MOST_MESSAGES, fail_fast=True)]

"""The one error body."""

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """OpenAI's four keys, always all of them."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Everything that is not a success looks like this, over HTTP and inside a stream."""

    error: ErrorDetail

"""The one error that handlers raise: an HTTP status and Ollama's words for it."""


class Refused(Exception):
    """The request gets ``status`` and ``{"error": text}``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

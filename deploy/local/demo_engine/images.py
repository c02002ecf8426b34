"""What the head of an image file tells: its format and its size in pixels."""

import struct
from dataclasses import dataclass

_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class ImageFacts:
    """One image: ``format`` is "unknown" and the sides are 0 where the head does not tell."""

    format: str
    size_bytes: int
    width: int = 0
    height: int = 0

    def __str__(self) -> str:
        pixels = f", {self.width} x {self.height} pixels" if self.width else ""
        return f"{self.format}, {self.size_bytes} bytes{pixels}"


def image_facts(data: bytes) -> ImageFacts:
    """Read format and size from the first bytes of ``data``; never fails."""
    try:
        kind, (width, height) = _head(data)
    except (struct.error, IndexError):
        kind, (width, height) = "unknown", (0, 0)
    return ImageFacts(kind, len(data), width, height)


def _head(data: bytes) -> tuple[str, tuple[int, int]]:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", struct.unpack(">II", data[16:24])
    if data.startswith(b"\xff\xd8"):
        return "JPEG", _jpeg_size(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF", struct.unpack("<HH", data[6:10])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _webp_size(data)
    return "unknown", (0, 0)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data):
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        if marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack("<I", data[21:25])
            return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            return width, int.from_bytes(data[27:30], "little") + 1
        case _:
            return 0, 0

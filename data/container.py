"""One pass through a clip's file: its packets, its frames, their times, and what is damaged.

What FFmpeg may open and how large is decided here; so is how a frame becomes an upright picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import IO, Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from data.images import MATTE, StillError
from data.images.file import Limits, StillPath, open_file, plain

# The only readers FFmpeg may use: its playlists and scripts would open other files, or the network.
# The sound formats are among them so that a song is told apart from a file that is no clip at all.
_READERS = "mov,matroska,avi,gif,mpegts,mpeg,asf,flv,mp3,wav,flac,aac,ogg"
_UNMARKED = ("gif", "mpegts")  # readers that hand out half a frame at a cut like any other
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18\x53\x80\x67"  # how Matroska and WebM begin
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # of MP4 and MOV

_LONGEST_PIXEL = 4  # beyond this, either way, the shape in the header is a mistake
_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # the YUV matrices (ITU-T H.273) swscale knows
_UNSPECIFIED = 2
_READ_FAILURES = 50  # after so many in a row the rest of the file is given up


@dataclass(frozen=True)
class ClipLimits:
    """What is accepted: file size in bytes, width × height of a frame in pixels (8K: 33 Mpx)."""

    max_bytes: int = 4 * 2**30
    max_pixels: int = 50_000_000


@contextmanager
def open_pass(path: StillPath, limits: ClipLimits, name: str | None = None) -> Iterator[Reading]:
    """The file open for one pass. Raises StillError, also where reading fails inside."""
    name = plain(os.fspath(path) if name is None else name)
    with open_file(path, Limits(max_bytes=limits.max_bytes)) as file:
        head = b""
        try:
            head = file.read(4096)
            if not head:
                message = f"{name}: the file is empty (0 bytes); copy or save it again"
                raise StillError("empty", message)
            with _open(path, _decoder_limit(limits)) as container:
                yield Reading(path, name, file, head, container, limits)
        except MemoryError as error:
            message = f"{name}: does not fit into memory; save it smaller"
            raise StillError("too_large", message) from error
        except av.FFmpegError as error:
            raise StillError("unreadable_video", f"{name}: {_explain_unopened(head)}") from error
        except OSError as error:
            message = f"{name}: cannot be read ({error.strerror or error}); copy it again"
            raise StillError("missing", message) from error


def _open(path: StillPath, options: dict[str, str]) -> InputContainer:
    options = {"format_whitelist": _READERS, **options}
    # "file:", as a name with a colon would be taken for an address. Old files carry titles in code
    # pages of their own, which must not cost the clip.
    return av.open(f"file:{os.fspath(path)}", "r", options=options, metadata_errors="replace")


def _decoder_limit(limits: ClipLimits) -> dict[str, str]:
    # Decoders count the padding of each line too.
    return {"max_pixels": str(limits.max_pixels + 2**20)}


def _explain_unopened(head: bytes) -> str:
    known = head.startswith((_EBML, b"RIFF", b"GIF8")) or head[4:8] in _FIRST_BOXES
    if known or _is_mpegts(head):
        return "its header or its index is missing or damaged; copy or download it again"
    return "not a clip; give one of MP4, MOV, MKV, WEBM, AVI, GIF"


class Reading:
    """One pass through an open clip: its packets, its frames, and what was left out of them."""

    def __init__(
        self,
        path: StillPath,
        name: str,
        file: IO[bytes],
        head: bytes,
        container: InputContainer,
        limits: ClipLimits,
    ) -> None:
        self.file, self.container = file, container
        self._path, self._name, self._head = path, name, head
        self._cut_short = _cut_short(file, head)
        self._marked = self._skipped = 0
        self.stream = self._choose_stream()
        self._pixel = _pixel_shape(self.stream)
        self._check_size(limits)
        self.stream.codec_context.thread_type = ThreadType.AUTO
        # A size that the header does not give, or that changes on the way, stops at the decoder.
        self.stream.codec_context.options = _decoder_limit(limits)
        self._to_rgb = VideoReformatter()

    def error(self, what: str, code: str = "unreadable_video") -> StillError:
        return StillError(code, f"{self._name}: {what}")

    def format(self) -> str:
        """The container's plain name, in upper case."""
        names = self.container.format.name.upper().split(",")
        if "MP4" in names:  # one reader for both; a MOV from before 2001 names no brand
            brand = self.container.metadata.get("major_brand", "qt")
            return "MOV" if brand.startswith("qt") else "MP4"
        return "WEBM" if "WEBM" in names and b"webm" in self._head[:64] else names[0]

    def packets(self) -> Iterator[Packet]:
        """The stream's packets, over whatever cannot be read."""
        failures = 0
        while failures < _READ_FAILURES:
            try:
                for packet in self.container.demux(self.stream):
                    failures = 0
                    if packet.size:  # an empty one, in AVI a dropped frame, would end the decoding
                        yield packet
                return
            except IndexError:
                return  # PyAV at the end of a file in which a further stream turned up on the way
            except (av.FFmpegError, OSError):
                failures += 1
                self._skipped += 1

    def frames(self, only_keys: bool = False) -> Iterator[VideoFrame]:
        """The undamaged frames in the order shown, decoded as they are asked for."""
        if only_keys:
            self.stream.codec_context.skip_frame = "NONKEY"
        packets = self.packets()
        packet = next(packets, None)
        while packet is not None:
            following = next(packets, None)
            self._marked += packet.is_corrupt
            if following is None and self._is_part(packet):
                self._skipped += 1
            else:
                yield from self._decode(packet, only_keys)
            packet = following
        yield from self._decode(None, only_keys)

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """The frame as uint8 (H, W, 3): upright, pixels square, laid over the stills' matte."""
        if frame.colorspace not in _MATRICES:
            frame.colorspace = _UNSPECIFIED  # the plain conversion rather than none
        see_through = frame.format.has_palette or any(c.is_alpha for c in frame.format.components)
        width = max(1, round(frame.width * self._pixel))
        kind = "rgba" if see_through else "rgb24"
        try:
            pixels = self._to_rgb.reformat(frame, width=width, format=kind).to_ndarray()
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise self.error("its kind of pixels is not read; convert it to MP4 (H.264)") from error
        if see_through:
            image = Image.fromarray(pixels)
            image = Image.alpha_composite(Image.new("RGBA", image.size, MATTE), image)
            pixels = np.asarray(image.convert("RGB"))
        # A copy, as the decoder may still read the original, and in the order of its shape.
        return np.array(_upright(pixels, frame), order="C")

    def damage(self) -> str | None:
        """One line on what was left out so far, or None."""
        said = []
        if self._skipped:
            said.append(f"damaged packets or frames left out: {self._skipped}")
        elif self._marked:
            said.append(f"damaged packets, decoded as far as they go: {self._marked}")
        if self._cut_short or self._ends_before_its_index():
            said.append("the file is cut short")
        return "; ".join(said) or None

    def _decode(self, packet: Packet | None, only_keys: bool) -> Iterator[VideoFrame]:
        try:
            decoded = self.stream.decode(packet)
        except MemoryError:  # FFmpeg's own is among its errors, but it is no damage
            raise
        except (av.FFmpegError, OSError):
            self._skipped += 1
            return
        for frame in decoded:
            if frame.is_corrupt:
                self._skipped += 1
            # Some decoders (VP9, GIF) skip nothing, so each frame is also asked what it is.
            elif frame.key_frame or not only_keys:
                yield frame

    def _is_part(self, last: Packet) -> bool:
        # The decoder would fill it up, or fail on it and keep back the frames it still holds.
        return last.is_corrupt or (self._cut_short and self.container.format.name in _UNMARKED)

    def _ends_before_its_index(self) -> bool:
        entries = self.stream.index_entries
        return len(entries) > 0 and entries[-1].pos + entries[-1].size > self.container.size

    def _choose_stream(self) -> VideoStream:
        videos = self.container.streams.video
        moving = [s for s in videos if not s.disposition & Disposition.attached_pic]
        if not moving:
            what = "a cover picture" if videos else "sound"
            raise self.error(f"this file has no picture, only {what}; give one with video")
        for stream in moving:
            if stream.codec_context is not None:
                return stream
        raise self.error("its codec is not read; convert it to MP4 (H.264)")

    def _check_size(self, limits: ClipLimits) -> None:
        width, height = self.stream.width, self.stream.height
        if not width * height:
            # FFmpeg forgets a size beyond the limit when it tries the decoder; ask without one.
            with _open(self._path, {"codec_whitelist": "none"}) as container:
                for stream in container.streams.video:
                    if stream.index == self.stream.index:
                        width, height = stream.width, stream.height
        if max(width, round(width * self._pixel)) * height > limits.max_pixels:
            allowed = f"more than the {limits.max_pixels / 1e6:g} Mpx allowed"
            raise self.error(f"{width} × {height} px, {allowed}; save it smaller", "too_large")


class Clock:
    """Seconds since the first frame, never standing still or running backwards."""

    def __init__(self, stream: VideoStream) -> None:
        self._unit = stream.time_base or Fraction(0)
        self._step = float(1 / (stream.average_rate or 25))
        self._first: int | None = None
        self._last_s: float | None = None

    def read(self, stamp: int | None) -> float:
        """The time of the next frame, whose time stamp is in the stream's units."""
        if self._last_s is None:
            self._first, self._last_s = stamp, 0.0
            return 0.0
        time_s = -inf
        if stamp is not None and self._first is not None:
            time_s = float((stamp - self._first) * self._unit)
        if time_s <= self._last_s:  # none, repeated or set back: the average rate goes on from here
            time_s = self._last_s + self._step
        self._last_s = time_s
        return time_s


def _upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """A view turned and mirrored in quarters as the frame's display matrix says."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return pixels
    # Row-major: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = (int(number) for number in np.frombuffer(data, np.int32)[:5])
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _pixel_shape(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height."""
    ratio = stream.sample_aspect_ratio
    usable = ratio is not None and Fraction(1, _LONGEST_PIXEL) <= ratio <= _LONGEST_PIXEL
    return ratio if ratio is not None and usable else Fraction(1)


def _cut_short(file: IO[bytes], head: bytes) -> bool:
    """Whether the file ends before it should, by its own account; most formats give none."""
    size = file.seek(0, os.SEEK_END)
    if head.startswith(b"RIFF"):
        promised = int.from_bytes(head[4:8], "little")
        return size < promised < 2**32 - 1  # writers of endless files put the highest number
    if head.startswith(b"GIF8"):
        file.seek(-min(size, 64), os.SEEK_END)
        return not file.read().rstrip(b"\0").endswith(b";")
    if head.startswith(_EBML) and _SEGMENT in head:
        start = head.index(_SEGMENT) + 4
        field = head[start:].ljust(9, b"\0")
        length = 9 - field[0].bit_length()  # the leading zeros count the bytes that follow
        number = int.from_bytes(field[:length], "big")
        unknown = 2 ** (7 * length) - 1
        promised = number & unknown
        return promised != unknown and start + length + promised > size
    return _is_mpegts(head) and size % 188 > 0  # a cut between its packets cannot be seen


def _is_mpegts(head: bytes) -> bool:
    return head[:189:188] == b"GG"  # packets of 188 bytes, each begun by this one

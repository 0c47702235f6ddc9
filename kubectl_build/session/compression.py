"""Messages of a session, compressed one by one where that makes them arrive sooner.

gRPC marks each message as compressed or not, so each is decided by itself: by the rate at which the daemon takes what is sent, by the speed
of compressing here, and by a sample of the message. The daemon has to have said that it understands gzip.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Final

from kubectl_build.model.request import CompressContext
from kubectl_build.session.rpc import Metadata, prefix

_LEVEL: Final = 4
"""Measured on source files of 7 KiB: level 1 leaves 25.5 % at 66 MB/s, level 4 22.9 % at 56 MB/s, level 6 22.0 % at 41 MB/s."""

_SHORTEST: Final = 256
"""Bytes of the shortest message that is compressed: gzip itself adds 18."""

_SAMPLE: Final = 4096
"""Bytes that are compressed to learn about a message of more than twice that; it costs some 30 microseconds."""

_WORTH: Final = 0.1
"""The least part of a message that has to go away."""

_MARGIN: Final = 2.0
"""What is saved in sending must be so many times what compressing takes: the daemon has work with it too, and rates are guesses."""

_WINDOW: Final = 0.25
"""Seconds of sending over which a rate is measured."""

_FIRST_SPEED: Final = 40e6
"""Bytes a second that compressing is taken for until it has been measured."""

_WRITE_SECONDS: Final = 0.1
_SMALLEST_WRITE: Final = 256 << 10

Clock = Callable[[], float]


class SendRate:
    """Bytes a second that the other side takes, measured only while something waits to be sent. `rate` is None until it is known."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.rate: float | None = None
        self._clock = clock
        self._since: float | None = None
        self._seconds = 0.0
        self._bytes = 0

    def begin(self) -> None:
        """Something waits from now on, if nothing did before."""
        if self._since is None:
            self._since = self._clock()

    def sent(self, count: int) -> None:
        """So many bytes have left. After `begin`."""
        self._pass_time()
        self._bytes += count
        if self._seconds >= _WINDOW:
            self.rate = self._bytes / self._seconds
            self._seconds, self._bytes = 0.0, 0

    def rest(self) -> None:
        """Nothing waits any more: the time until the next `begin` says nothing about the path."""
        self._pass_time()
        self._since = None

    @property
    def write_size(self) -> int:
        """How many bytes to hand over at once: large writes cost both sides less, but answers wait behind them."""
        return max(_SMALLEST_WRITE, int((self.rate or 0) * _WRITE_SECONDS))

    def _pass_time(self) -> None:
        if self._since is not None:
            now = self._clock()
            self._seconds += now - self._since
            self._since = now


class Compression:
    """Packs messages for one session. `pack` may be called in threads; the calls of a session share what has been learnt."""

    def __init__(self, mode: CompressContext, rate: SendRate, clock: Clock = time.perf_counter) -> None:
        self._mode = mode
        self._rate = rate
        self._clock = clock
        self._speed = _FIRST_SPEED

    def offered(self, metadata: Metadata) -> bool:
        """Whether a call's messages may be compressed: wanted here, and understood by the daemon."""
        accepted = ",".join(metadata.get("grpc-accept-encoding", ())).split(",")
        return self._mode is not CompressContext.OFF and "gzip" in (encoding.strip() for encoding in accepted)

    def pack(self, *parts: bytes) -> list[bytes]:
        """Return the message of `parts` with its prefix, compressed if that pays."""
        size = sum(map(len, parts))
        if self._pays(size, parts):
            packed = self._compressed(size, parts)
            if len(packed) < size:
                return [prefix(len(packed), compressed=True), packed]
        return [prefix(size), *parts]

    def _pays(self, size: int, parts: tuple[bytes, ...]) -> bool:
        if size < _SHORTEST or not self._saves_time(1.0):
            return False
        if size <= 2 * _SAMPLE:
            return True
        longest = max(parts, key=len)
        sample = longest[len(longest) // 2 :][:_SAMPLE]
        saved = 1 - len(zlib.compress(sample, 1)) / len(sample)
        return saved >= _WORTH and self._saves_time(saved)

    def _saves_time(self, saved: float) -> bool:
        """Whether sending `saved` of each byte would take longer than compressing the byte does."""
        if self._mode is CompressContext.ON:
            return True
        return self._rate.rate is not None and self._rate.rate * _MARGIN < saved * self._speed

    def _compressed(self, size: int, parts: tuple[bytes, ...]) -> bytes:
        began = self._clock()
        gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # 16: with gzip's header
        packed = b"".join([*map(gzip.compress, parts), gzip.flush()])
        if (seconds := self._clock() - began) > 0:
            self._speed += (size / seconds - self._speed) / 8
        return packed

"""What of pika we replace: how properties are decoded, how a connection reads and writes, and who drives its loop.

Importing this module replaces the decoding of properties for every connection of the process.
"""

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
import pika.channel
import pika.spec
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport, _AsyncTransportBase

from messaging import frames
from messaging.frames import Publication, as_pika

UNREADABLE_HEADERS = "x-unreadable-headers"

AT_ONCE = _AsyncPlaintextTransport._MAX_CONSUME_BYTES
"""How many bytes pika takes in during one round of its loop."""


class TolerantProperties(pika.spec.BasicProperties):
    """Properties that can always be decoded.

    pika decodes headers before anybody sees the message, and one that it cannot decode (a timestamp past the year
    9999, arrays nested a thousand deep) costs the connection, again at every redelivery. Here it costs the headers
    only, and the message goes the way of every bad message: to the dead letters, under its own id.
    """

    def decode(self, encoded: bytes, offset: int = 0) -> Any:
        try:
            return super().decode(encoded, offset)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
        with suppress(IndexError, struct.error):
            super().decode(_without_headers(encoded[offset:]))
        self.headers = {UNREADABLE_HEADERS: reason}
        return self


def _without_headers(encoded: bytes) -> bytes:
    """The same properties with the table of headers cut out: its length stands before it."""
    (flags,) = struct.unpack_from(">H", encoded)
    start = 2
    for flag in (pika.BasicProperties.FLAG_CONTENT_TYPE, pika.BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            start += 1 + encoded[start]
    (length,) = struct.unpack_from(">I", encoded, start)
    flags &= ~pika.BasicProperties.FLAG_HEADERS
    return struct.pack(">H", flags) + encoded[2:start] + encoded[start + 4 + length :]


pika.spec.props[pika.spec.Basic.INDEX] = TolerantProperties

# 64 KiB in one read instead of sixteen, each of which gives up the interpreter and has to get it back.
_AsyncTransportBase._MAX_RECV_BYTES = 65_536


class FastConnection(pika.SelectConnection):
    """pika's connection, but faster, where messages come in numbers as well as where they come alone.

    What is sent goes out at once, and what is sent within `gathered` goes out in one write. pika would make three
    writes of a message, each in the next round of its loop, after a wait for a socket that nearly always takes data.
    The usual message is read and written by `frames`: 10 instead of 22 µs for a delivery, 7 instead of 18 µs for a
    publication.
    """

    _gathered: list[bytes] | None = None
    taken_in = 0
    """How many bytes have come. pika's own `bytes_received` leaves out the beginning of a frame."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.receivers: dict[str, Callable[[frames.Content], None]] = {}
        """Who gets the usual messages of a consumer, by its tag; all other messages are delivered by pika."""
        super().__init__(*args, **kwargs)

    def _on_data_available(self, data_in: bytes) -> None:
        self.taken_in += len(data_in)
        super()._on_data_available(data_in)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is sent in this block goes out in one write."""
        self._gathered = []
        try:
            yield
        finally:
            data, self._gathered = b"".join(self._gathered), None
            if data and self.is_open:
                self._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is not None:
            self._gathered.append(data)
        elif left := data[self._send_at_once(data) :]:
            super()._adapter_emit_data(left)

    def _send_at_once(self, data: bytes) -> int:
        """Returns how many bytes the socket took; 0 also where pika has to send, or to find out what is wrong."""
        transport = self._transport
        if isinstance(transport, _AsyncPlaintextTransport) and not transport.get_write_buffer_size():
            with suppress(OSError, AttributeError):  # full, broken, or given back by pika already
                return int(transport._sock.send(data))
        return 0

    def publish(self, channel: pika.channel.Channel, message: Publication) -> None:
        """As `channel.basic_publish`, mandatory. Raises what that raises."""
        exchange, routing_key, body = message.exchange, message.routing_key, message.body
        properties = message.properties
        if isinstance(properties, frames.Properties):
            longest = self._body_max_length
            usual = frames.publication(channel.channel_number, exchange, routing_key, body, properties, longest=longest)
            if usual is not None and channel.is_open:
                self._output_marshaled_frames([usual])
                return
        channel.basic_publish(exchange, routing_key, body, as_pika(properties), mandatory=True)

    def _read_frame(self) -> Any:
        """Called by pika for the next frame of what has arrived. First takes what `frames` can read."""
        data, start = self._frame_buffer, 0
        while (content := frames.delivery_at(data, start)) and (receive := self.receivers.get(content.consumer_tag)):
            receive(content)
            start = content.end
        if start:
            self._trim_frame_buffer(start)
        return super()._read_frame()


class SteppedLoop(IOLoop):
    """pika's loop, but driven round by round by whoever waits; no round takes longer than `patience` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = 0.0
        self.ended = threading.Event()
        self.activate_poller()

    def round(self, seconds: float) -> None:
        """Waits up to `seconds` for something to happen, and handles what has come and what is due."""
        self.patience = seconds
        self.poll()
        self.process_timeouts()

    def _get_remaining_interval(self) -> float:
        due = super()._get_remaining_interval()
        return self.patience if due is None else min(due, self.patience)

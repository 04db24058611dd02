"""Redis commands by the thousand: laid out as columns, sent over one connection, answers counted.

A client that builds its commands one by one spends most of a bulk write in Python. Here the bytes
of all commands of a chunk are one Arrow buffer (RESP, redis.io/docs/reference/protocol-spec), and
answers are read by hiredis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import hiredis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis

from platemill.features.encode import join_bytes

__all__ = ["Commands", "Part", "Wire", "command", "commands", "refused"]

_READ_BYTES = 1 << 20

Part: TypeAlias = "bytes | pa.BinaryArray"


def command(*words: bytes) -> bytes:
    """One command's bytes."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Commands:
    """The bytes of many commands, one after another."""

    def __init__(self, array: pa.BinaryArray) -> None:
        _, offsets, data = array.buffers()
        self._offsets = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
        self._data = memoryview(b"" if data is None else data)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def bytes_of(self, start: int, end: int) -> memoryview:
        """The bytes of some of them."""
        return self._data[self._offsets[start] : self._offsets[end]]


def commands(rows: int, *words: Part) -> Commands:
    """A command a row.

    Args:
        rows: how many.
        words: the command's words in their order; bytes stand for the same in each row.
    """
    parts: list[Part] = []
    constant = b"*%d\r\n" % len(words)
    for word in words:
        if isinstance(word, bytes):
            constant += b"$%d\r\n%s\r\n" % (len(word), word)
            continue
        lengths = pc.binary_length(word).cast(pa.string()).cast(pa.binary())
        parts += [constant + b"$", lengths, b"\r\n", word]
        constant = b"\r\n"
    if not parts:
        return Commands(pa.array([constant] * rows, pa.binary()))
    return Commands(join_bytes(*parts, constant))


class Wire:
    """One connection for commands that were laid out. It never connects a second time.

    Who was taken over may be cut off; coming back by itself it would write into what is another's.

    Args:
        client: whose server and credentials; it is closed with the connection.
    """

    def __init__(self, client: redis.Redis) -> None:
        # Held: a client that nobody holds closes its connections.
        self._client = client
        self._connection: Any = client.connection_pool.get_connection()
        # redis-py has spoken (credentials, database) and read every answer: the line is free.
        self._socket: Any = self._connection._sock
        self._reader = hiredis.Reader()

    def send(self, *parts: bytes | memoryview) -> None:
        """Send bytes of commands. Their answers have to be received, all of them."""
        for part in parts:
            self._socket.sendall(part)

    def receive(self) -> Any:
        """The next answer: bytes, a number, a list or None.

        Raises:
            ResponseError: the server refused the command.
            ConnectionError: it is gone.
        """
        answer = self._reader.gets()
        while answer is False:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise redis.ConnectionError("the connection was closed by the server")
            self._reader.feed(data)
            answer = self._reader.gets()
        if isinstance(answer, hiredis.ReplyError):
            raise redis.ResponseError(str(answer))
        return answer

    def receive_many(self, count: int) -> list[Any]:
        """The next answers."""
        return [self.receive() for _ in range(count)]

    def close(self) -> None:
        """End the connection, whatever was not received yet."""
        self._connection.disconnect()
        self._client.connection_pool.release(self._connection)
        self._client.close()


def refused(answers: Sequence[Any]) -> None:
    """Raise the first error inside the answer of a transaction."""
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            raise redis.ResponseError(str(answer))

"""Reads the Redis online store without Feast: one round trip for all views of all keys.

The command that asks for a key differs from the next one in the key alone, so its other words are
laid out once: for a thousand keys of forty features a client that builds its commands one by one
spends twice the time in Python that it waits for Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from platemill.errors import FeatureUnreadable, ServerUnavailable
from platemill.features.reader import EntityLayout, RawAnswer, entity_keys, not_published
from platemill.features.redis_errors import explained, shown_url
from platemill.features.redis_place import connect_redis
from platemill.features.redis_target import Hashes
from platemill.features.resp import command
from platemill.features.stamp import STAMP_KEY, stamp_of

__all__ = ["RedisReader"]

# Keys of a round trip: what is asked and answered of them lies in memory at once.
_KEYS_AT_ONCE = 2000
# A night is published in an instant; a reader that meets it asks again.
_TRIES = 5


class RedisReader:
    """The published database, over connections that are kept. May be used by several threads.

    Args:
        url: the server and the published database.
        project: Feast's name of the project, which is in the keys.
    """

    def __init__(self, url: str, project: str) -> None:
        self._url = url
        self._project = project
        # It connects when it is first asked.
        self._client = connect_redis(url)
        self._stamp = command(b"GET", STAMP_KEY)
        self._commands: dict[str, tuple[bytes, bytes]] = {}

    def read(self, layout: EntityLayout, keys: Sequence[str]) -> RawAnswer:
        """See ``OnlineReader``. The stamp is asked for before and after: the same, or again."""
        entities = [key + self._project.encode() for key in entity_keys(layout, keys)]
        for _ in range(_TRIES):
            stamps: set[bytes | None] = set()
            rows: list[Sequence[Any]] = []
            for start in range(0, len(entities) or 1, _KEYS_AT_ONCE):
                asked = self._asked(layout, entities[start : start + _KEYS_AT_ONCE])
                before, *found, after = self._exchange(asked)
                stamps |= {before, after}
                rows += found
            if len(stamps) == 1:
                stamp = stamp_of(stamps.pop())
                if stamp is None:
                    raise not_published(shown_url(self._url))
                return RawAnswer(stamp, rows)
        raise ServerUnavailable(
            f"{shown_url(self._url)} showed another generation each of the {_TRIES} times that it "
            "was read"
        )

    def seconds(self, time: Any) -> int:
        """See ``OnlineReader``; Redis holds a serialized ``Timestamp``."""
        try:
            return int(Timestamp.FromString(time).seconds)
        except DecodeError:
            raise FeatureUnreadable(
                f"{shown_url(self._url)} holds an event time that is no Timestamp: {time.hex()}"
            ) from None

    def close(self) -> None:
        """See ``OnlineReader``."""
        self._client.close()

    def _asked(self, layout: EntityLayout, entities: Sequence[bytes]) -> list[bytes]:
        head, tail = self._command(layout)
        keys = [head + b"%d\r\n%b" % (len(entity), entity) + tail for entity in entities]
        return [self._stamp, *keys, self._stamp]

    def _command(self, layout: EntityLayout) -> tuple[bytes, bytes]:
        """What stands before the length of a key, and behind the key, in the command for it."""
        if layout.kind.name not in self._commands:
            fields: list[bytes] = []
            for view in layout.views:
                table = view.table
                hashes = Hashes.of(self._project, table.name, table.feature_names)
                fields += [hashes.time, *hashes.features]
            whole = command(b"HMGET", b"", *fields)
            head, _, tail = whole.partition(b"$0\r\n")
            self._commands[layout.kind.name] = head + b"$", tail
        return self._commands[layout.kind.name]

    def _exchange(self, asked: Sequence[bytes]) -> list[Any]:
        with explained(self._url):
            try:
                return self._once(asked)
            except redis.ConnectionError:
                # The server lets go of a connection that was idle for long, or was started again.
                return self._once(asked)

    def _once(self, asked: Sequence[bytes]) -> list[Any]:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        whole = False
        try:
            connection.send_packed_command([b"".join(asked)], check_health=False)
            answers = [connection.read_response() for _ in asked]
            whole = True
        finally:
            if not whole:
                # Answers may be under way that nobody waits for.
                connection.disconnect()
            pool.release(connection)
        return answers

"""Where the Redis online store is: a server, and two of its databases. Knows nothing of Feast.

One database is published, the other is prepared; a publication swaps them (``SWAPDB``), at one
moment for every client that is connected. Each holds, beside Feast's hashes, a few keys of ours:
a stamp that says which generation it is, or what was begun and is not complete.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import redis

from platemill.errors import ConfigurationError
from platemill.features.redis_errors import explained, shown_url
from platemill.features.stamp import STAMP_KEY, Stamp, stamp_of
from platemill.lake import Generation
from platemill.settings import Settings

__all__ = ["RedisPlace", "Role", "State", "connect_redis", "redis_place"]

WORK = b"platemill:work"
"""What is being written into it, or was when it was stamped. JSON."""
WRITER = b"platemill:writer"
"""Whose turn it is to write: a random text. Who finds another one stops."""
DONE = b"platemill:done"
"""View → rows that are written. A hash."""
BY_HAND = b"platemill:by_hand"
"""Somebody wrote rows that are not the tiles'."""
OURS = (STAMP_KEY, WORK, WRITER, DONE, BY_HAND)

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0

# Swaps only if the prepared database is the generation's and the published one is not: of two who
# find that there is something to do, the second does not undo what the first did.
_SWAP = """
local function stamped(index)
  redis.call('SELECT', index)
  local said = redis.call('GET', KEYS[1])
  if not said then return false end
  local stamp = cjson.decode(said)
  return stamp.generation == tonumber(ARGV[3]) and stamp.run_id == ARGV[4]
end
if stamped(ARGV[1]) then return 0 end
if not stamped(ARGV[2]) then return -1 end
redis.call('SWAPDB', ARGV[1], ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Role:
    """One of the two databases: its number, and what it is used for."""

    index: int
    name: str


@dataclass(frozen=True)
class State:
    """What a database holds.

    Attributes:
        keys: how many keys, ours left out.
        stamp: which generation; None if it is not complete.
        work: what was begun in it (``redis_target``), None if nothing was.
        done: rows of each view that were written for that.
        by_hand: whether somebody else wrote to it.
    """

    keys: int
    stamp: Stamp | None
    work: Mapping[str, Any] | None
    done: Mapping[str, int]
    by_hand: bool


class RedisPlace:
    """A Redis server and its two databases.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; its database is the published one.
        staging: the number of the other.

    Raises:
        ConfigurationError: the URL is none, or both databases are one.
    """

    def __init__(self, url: str, staging: int) -> None:
        self.url = url
        self.published = Role(_database(url), "published")
        self.staging = Role(staging, "prepared")
        if self.published.index == staging:
            raise ConfigurationError(
                f"the online store {self.shown} is published in database {staging}, and "
                f"online_staging_database is {staging}, too: it has to be another"
            )

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return shown_url(self.url)

    def url_of(self, role: Role) -> str:
        """The URL of one of the databases."""
        return url_with_database(self.url, role.index)

    @contextlib.contextmanager
    def client(self, role: Role) -> Iterator[Any]:
        """A client of one of the databases.

        Raises:
            ServerUnavailable: the server does not answer.
            ConfigurationError: it answers, and refuses.
        """
        with explained(self.url):
            client = connect_redis(self.url_of(role))
            try:
                yield client
            finally:
                client.close()

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Say what to do about what the server answers, or that it does not."""
        return explained(self.url)

    def check(self) -> None:
        """Refuse a server that cannot hold the store, and databases that somebody else uses.

        Raises:
            ConfigurationError: what it is, and the cure.
            ServerUnavailable: the server does not answer.
        """
        with self.client(self.published) as client:
            said = client.info()
            if said.get("redis_mode") == "cluster" or said.get("cluster_enabled"):
                raise ConfigurationError(
                    f"{self.shown} is a Redis Cluster, which has one database only: two "
                    "generations have no place in it. Use a single server, or one with replicas"
                )
            policy = str(said.get("maxmemory_policy", "noeviction"))
            if said.get("maxmemory") and policy.startswith("allkeys"):
                raise ConfigurationError(
                    f"{self.shown} throws keys away when its memory is full (maxmemory-policy "
                    f"{policy}), and a lookup would say that there never were any. Set "
                    "`maxmemory-policy noeviction`"
                )
        for role in (self.published, self.staging):
            state = self.state(role)
            if state.keys and not (state.stamp or state.work):
                raise ConfigurationError(
                    f"database {role.index} of {self.shown}, where the {role.name} online store "
                    f"is to be, has {state.keys:,} keys of somebody else. Name another one "
                    "(PLATEMILL_ONLINE_URL, PLATEMILL_ONLINE_STAGING_DATABASE), or empty it: "
                    f"redis-cli -n {role.index} FLUSHDB"
                )

    def refuse_other_lake(self, url: str) -> None:
        """Refuse databases that another lake's nights are published in.

        Raises:
            ConfigurationError: they are.
        """
        for role in (self.published, self.staging):
            state = self.state(role)
            said = state.stamp.lake if state.stamp else (state.work or {}).get("lake")
            if said is not None and said != url:
                raise ConfigurationError(
                    f"database {role.index} of {self.shown} is the online store of the lake "
                    f"{said}, this deployment's is {url}. Give each its own two databases: "
                    "PLATEMILL_ONLINE_URL and PLATEMILL_ONLINE_STAGING_DATABASE; if the lake was "
                    f"moved there: redis-cli -n {role.index} FLUSHDB"
                )

    def state(self, role: Role) -> State:
        """What a database holds.

        Raises:
            ConfigurationError: our keys in it cannot be read, or it refuses.
            ServerUnavailable: the server does not answer.
        """
        with self.client(role) as client, client.pipeline(transaction=True) as pipe:
            return read_state(pipe, self.shown)

    def stamp(self) -> Stamp | None:
        """Which generation is published; None if there is none."""
        return self.state(self.published).stamp

    def swap(self, generation: Generation) -> bool:
        """Publish the prepared database, if it holds that generation and the published does not.

        Returns:
            Whether the published database holds it now.
        """
        with self.client(self.published) as client:
            answer = client.eval(
                _SWAP,
                1,
                STAMP_KEY,
                self.published.index,
                self.staging.index,
                generation.number,
                generation.run_id,
            )
        return int(answer) >= 0


def redis_place(settings: Settings) -> RedisPlace | None:
    """Where the settings say that the online store is; None: in the home, in SQLite."""
    if settings.online_url is None:
        return None
    return RedisPlace(settings.online_url, settings.online_staging_database)


def connect_redis(url: str) -> Any:
    """A client that waits for a while, not for ever."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
    )


def read_state(pipe: Any, shown: str) -> State:
    """What a database holds, by a pipeline that has no commands yet."""
    pipe.dbsize()
    pipe.exists(*OURS)
    pipe.get(STAMP_KEY)
    pipe.get(WORK)
    pipe.hgetall(DONE)
    pipe.exists(BY_HAND)
    keys, ours, stamp, work, done, by_hand = pipe.execute()
    try:
        return State(
            keys - ours,
            stamp_of(stamp),
            None if work is None else json.loads(work),
            {view.decode(): int(rows) for view, rows in done.items()},
            bool(by_hand),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"a key platemill:… in {shown} was written by something else ({error}); name other "
            "databases, or empty them with redis-cli FLUSHDB"
        ) from error


def url_with_database(url: str, index: int) -> str:
    """A server's URL with another database."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        kept = [word for word in parts.query.split("&") if word and not word.startswith("db=")]
        return urlunsplit(parts._replace(query="&".join([*kept, f"db={index}"])))
    return urlunsplit(parts._replace(path=f"/{index}"))


def _database(url: str) -> int:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigurationError(
            f"online_url is {shown_url(url)!r}, which is no Redis; redis://host:6379/0 would be one"
        )
    said = parts.path.strip("/")
    if parts.scheme == "unix":
        said = dict(parse_qsl(parts.query)).get("db", "")
    if said and not said.isdigit():
        raise ConfigurationError(
            f"online_url is {shown_url(url)!r}: behind the host stands the number of a database"
        )
    return int(said or 0)

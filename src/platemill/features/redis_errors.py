"""What a Redis server answers, or that it does not, as errors that say what to change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import redis

from platemill.errors import ConfigurationError, PlatemillError, RetryableError, ServerUnavailable

__all__ = ["explained", "shown_url"]

# How the server's errors begin.
_REFUSED = ("NOAUTH", "WRONGPASS", "NOPERM")
_BUSY = ("LOADING", "MASTERDOWN", "MISCONF", "BUSY")


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Say what to do about what a Redis server answers, or that it does not."""
    try:
        yield
    except PlatemillError:
        raise
    except (redis.RedisError, OSError) as error:
        raise _explain(error, shown_url(url)) from error


def _explain(error: Exception, shown: str) -> PlatemillError:
    text = str(error)
    if isinstance(error, redis.WatchError):
        return RetryableError(
            f"another run began to prepare the online store in {shown}; run again, and what is "
            "left to do is done"
        )
    if isinstance(error, redis.AuthenticationError) or text.startswith(_REFUSED):
        return ConfigurationError(
            f"{shown} refuses the credentials of PLATEMILL_ONLINE_URL, or what they may do: {text}"
        )
    if "OOM" in text or "maxmemory" in text:
        return ConfigurationError(
            f"{shown} has no memory left ({text}). It holds two generations while a night is "
            "published: raise its maxmemory"
        )
    if isinstance(error, redis.ReadOnlyError) or text.startswith("READONLY"):
        return ConfigurationError(f"{shown} is a replica, name its master: {text}")
    if "DB index is out of range" in text:
        return ConfigurationError(
            f"{shown} has fewer databases than that ({text}): raise its setting `databases`, or "
            "choose another PLATEMILL_ONLINE_STAGING_DATABASE"
        )
    gone = redis.ConnectionError | redis.TimeoutError | OSError
    if isinstance(error, gone) or text.startswith(_BUSY):
        return ServerUnavailable(
            f"the online store {shown} does not answer ({text or type(error).__name__}). Is "
            "redis-server running, and PLATEMILL_ONLINE_URL right? What was recognised is kept: "
            "run again"
        )
    return ConfigurationError(f"{shown} refuses: {text}")


def shown_url(url: str) -> str:
    """A URL as people may see it: without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    _, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))

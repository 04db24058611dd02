"""Requests to a bucket: which are tried again, for how long, and what a person reads at the end."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from platemill.errors import ConfigurationError, PlatemillError, RetryableError

__all__ = ["Refused", "Trials"]

_Answer = TypeVar("_Answer")

_TRIES: Final = 8
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

_TRY_AGAIN_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# A conditional write that met another one is refused for now, not for good.
_TRY_AGAIN_CODES: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
    }
)
_MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_CURES: Final = {
    "NoSuchBucket": "create the bucket, or correct PLATEMILL_LAKE_URL",
    # An answer without a body, to HEAD, does not say more.
    "400": "the credentials may have expired: renew them, or check AWS_*",
    "403": "the credentials are wrong, or may not list, get, put and delete there",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "ExpiredToken": "the credentials have expired: renew them",
    "PermanentRedirect": "the bucket is in another region: set AWS_DEFAULT_REGION",
    "NotImplemented": "the store does not know conditional writes (If-None-Match): use one that "
    "does",
}


class Refused(ConfigurationError):
    """The store refused a request for good.

    Args:
        text: what happened, where, and what to change.
        status: HTTP's number.
        code: the store's own word.
    """

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text, status, code)
        self.text, self.status, self.code = text, status, code

    def __str__(self) -> str:
        return self.text

    @property
    def is_missing(self) -> bool:
        """Whether there is no such file."""
        return self.code in _MISSING

    @property
    def is_taken(self) -> bool:
        """Whether the name that was to be taken is taken."""
        return self.status == 412


class Trials:
    """Makes requests until one is answered, or refused for good, a bounded number of times.

    Args:
        url: the lake, for people.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, request: Callable[[], _Answer]) -> _Answer:
        """Make a request that may be made again, with longer and longer pauses.

        Raises:
            Refused: the store answered and another try is useless.
            RetryableError: no try was answered, or the store was in trouble each time.
        """
        last = ""
        for tried in range(_TRIES):
            if tried:
                longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (tried - 1))
                time.sleep(longest * random.uniform(0.5, 1.0))
            try:
                with self.explained():
                    return request()
            except _TryAgain as trouble:
                last = str(trouble)
        raise RetryableError(
            f"{self._url} did not answer in {_TRIES} tries, at last: {last}. Check the network, "
            "AWS_ENDPOINT_URL and the store, then run again: what was recognised is kept"
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the library's errors into ours."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        try:
            yield
        except boto.ClientError as error:
            raise self._judge(error.response) from error
        except (
            boto.ConnectionError,
            boto.FlexibleChecksumError,
            boto.HTTPClientError,
            boto.IncompleteReadError,
            ResponseParserError,
        ) as error:
            raise _TryAgain(str(error)) from error
        except boto.BotoCoreError as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> ConfigurationError:
        """What to say of an error that comes before any request."""
        return ConfigurationError(
            f"{self._url} cannot be reached ({error}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and AWS_ENDPOINT_URL if it is not S3 itself"
        )

    def _judge(self, answer: dict[str, Any]) -> PlatemillError:
        said = answer.get("Error", {})
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(said.get("Code", status))
        message = str(said.get("Message", "")).rstrip(".")
        if code in _TRY_AGAIN_CODES or status in _TRY_AGAIN_STATUS:
            return _TryAgain(f"{status} {code} {message}".strip())
        cure = _CURES.get(code) or _CURES.get(str(status)) or "check PLATEMILL_LAKE_URL and AWS_*"
        text = f"{self._url} answers {status} {code} {message}".strip()
        kept = "Then run again: what was recognised is kept"
        return Refused(f"{text}; {cure}. {kept}", status, code)


class _TryAgain(PlatemillError):
    """A request came to nothing, but may not the next time."""

"""The files of a lake in a bucket of S3, or of a store that speaks its protocol.

A name is taken with ``If-None-Match: *``; the store lets one of many through. Each PUT carries a
token of its own, so that a caller whose answer was lost finds out whether it was he (a retry is
then refused by his own file). docs/adr/0043 draws it.

Credentials, region, endpoint and profile come from where every AWS program looks for them:
``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and so on, ``~/.aws``, or the machine's role.
"""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from platemill.errors import ConfigurationError, RetryableError
from platemill.failpoints import failpoint
from platemill.lake.storage import Entry, LocalStorage, clear_disk_errors
from platemill.lake.trials import Refused, Trials

__all__ = ["S3Storage"]

_URL = re.compile(r"s3://(?P<bucket>[^/]+)/?(?P<prefix>.*)")
_WRITER: Final = "writer"
_CHUNK = 1 << 20
_AT_ONCE = 16
_A_REQUEST = 1000
_UPLOAD_DAYS = 2


class S3Storage:
    """The files of a lake in a bucket, and those of them that are kept in a local folder.

    Only whole files are kept, under their names, so any number of processes may share the folder.

    Args:
        url: ``s3://bucket/prefix``.
        cache: the folder; it may be shared with other lakes.
        timeout: seconds that the store may take to connect, or to send or take the next bytes.
        single_bytes: a larger file is sent in parts of a quarter of that; memory holds one part.

    Raises:
        ConfigurationError: the URL is none, or the AWS variables contradict each other.
    """

    def __init__(
        self, url: str, cache: Path, timeout: float = 30.0, single_bytes: int = 256 << 20
    ) -> None:
        said = _URL.fullmatch(url)
        if said is None:
            raise ConfigurationError(
                f"lake_url is {url!r}, which is no bucket; s3://bucket/prefix would be one"
            )
        self._bucket, self._prefix = said["bucket"], said["prefix"].strip("/")
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        folder = urllib.parse.quote(self.url.removeprefix("s3://"), safe="")
        self._cache = LocalStorage(cache / folder.replace("%", "+"))
        self._trials = Trials(self.url)
        self._single_bytes = single_bytes
        try:
            with self._trials.explained():
                self._link = _link(os.getpid(), timeout, _said_by_environment())
        except ValueError as error:
            raise self._trials.unreachable(error) from error
        self._client = self._link.client

    @property
    def root(self) -> Path:
        """The folder of what is kept here."""
        return self._cache.root

    def locate(self, name: str) -> Path:
        """Where a file is kept here; it is fetched unless it is.

        Raises:
            FileNotFoundError: the bucket has no such file.
        """
        path = self._cache.locate(name)
        if not path.is_file():
            self._fetch(name)
        return path

    def locate_all(self, names: Sequence[str]) -> list[Path]:
        """Where files are kept here; those that are not are fetched, several at a time."""
        paths = [self._cache.locate(name) for name in names]
        missing = [n for n, path in zip(names, paths, strict=True) if not path.is_file()]
        if missing:
            with ThreadPoolExecutor(min(_AT_ONCE, len(missing))) as threads:
                list(threads.map(self._fetch, dict.fromkeys(missing)))
        return paths

    def read(self, name: str) -> bytes | None:
        """A small file's bytes as they are now; None if there is none of that name."""
        where = self._where(name)

        def get() -> bytes:
            return bytes(self._client.get_object(**where)["Body"].read())

        try:
            return self._trials.call(get)
        except Refused as refused:
            if refused.is_missing:
                return None
            raise

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of many small files, read several at a time."""
        if not names:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as threads:
            return list(threads.map(self.read, names))

    def exists(self, name: str) -> bool:
        """Whether the bucket has a file of that name."""
        return self._head(name) is not None

    def names(self, folder: str) -> list[str]:
        """The names of a folder's own files, sorted."""
        pages = self._pages(f"{folder}/", Delimiter="/")
        return sorted(entry.name for page in pages for entry in self._entries(page))

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """The bucket's files below a folder at any depth."""
        for page in self._pages(f"{folder}/" if folder else ""):
            yield from self._entries(page)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless the name is taken; of many callers exactly one gets True."""
        writer = uuid.uuid4().hex

        def put() -> None:
            self._client.put_object(
                **self._where(name), Body=data, IfNoneMatch="*", Metadata={_WRITER: writer}
            )

        failpoint("bucket.create.before")
        first = self._take(name, writer, put)
        failpoint("bucket.create.after")
        if first and self.url not in self._link.conditional:
            self._refuse_store_without_conditions(put)
            self._link.conditional.add(self.url)
        return first

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file over what was there."""
        self._trials.call(lambda: self._client.put_object(**self._where(name), Body=data))

    def adopt(self, temporary: Path, name: str) -> bool:
        """Send a finished file under its name unless that is taken; a copy is kept here."""
        writer = uuid.uuid4().hex
        failpoint("bucket.upload.before")
        if temporary.stat().st_size > self._single_bytes:
            first = self._take(name, writer, lambda: self._send_parts(temporary, name, writer))
        else:
            first = self._take(name, writer, lambda: self._send(temporary, name, writer))
        failpoint("bucket.upload.after")
        if first:
            self._cache.adopt(temporary, name)
        return first

    def remove(self, name: str) -> None:
        """Remove a file of the bucket, and what is kept of it here."""
        self._trials.call(lambda: self._client.delete_object(**self._where(name)))
        self.forget(name)

    def remove_all(self, names: Sequence[str]) -> None:
        """Remove many files of the bucket, a thousand a request, and what is kept of them here."""
        for start in range(0, len(names), _A_REQUEST):
            some = names[start : start + _A_REQUEST]
            doomed = {"Objects": [{"Key": self._where(n)["Key"]} for n in some], "Quiet": True}
            answer = self._trials.call(
                partial(self._client.delete_objects, Bucket=self._bucket, Delete=doomed)
            )
            if answer.get("Errors"):
                # One by one, so that what is wrong is said, or passes.
                for name in some:
                    self.remove(name)
            for name in some:
                self.forget(name)

    def cached(self) -> Iterator[Entry]:
        """What is kept here."""
        return self._cache.entries()

    def forget(self, name: str) -> int:
        """Remove what is kept here of a file, not the file; returns the bytes freed."""
        try:
            size = self._cache.locate(name).stat().st_size
        except FileNotFoundError:
            return 0
        self._cache.remove(name)
        return size

    def temporary(self, suffix: str = "") -> Path:
        """A new path of this process beside what is kept here."""
        return self._cache.temporary(suffix)

    def sweep_temporary(self) -> int:
        """Remove what processes that are gone left half-written, uploads in parts too."""
        old = datetime.now(UTC) - timedelta(days=_UPLOAD_DAYS)
        begun = self._trials.call(
            lambda: self._client.list_multipart_uploads(
                Bucket=self._bucket, Prefix=self._key("") if self._prefix else ""
            )
        )
        for upload in begun.get("Uploads", []):
            if upload["Initiated"] < old:
                self._abort(upload["Key"], upload["UploadId"])
        return self._cache.sweep_temporary()

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _where(self, name: str) -> dict[str, str]:
        self._cache.locate(name)
        return {"Bucket": self._bucket, "Key": self._key(name)}

    def _head(self, name: str) -> dict[str, Any] | None:
        where = self._where(name)
        try:
            found: dict[str, Any] = self._trials.call(lambda: self._client.head_object(**where))
        except Refused as refused:
            if refused.is_missing:
                return None
            raise
        return found

    def _pages(self, prefix: str, **more: str) -> Iterator[dict[str, Any]]:
        asked = {"Bucket": self._bucket, "Prefix": self._key(prefix), **more}
        while True:
            page: dict[str, Any] = self._trials.call(lambda: self._client.list_objects_v2(**asked))
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _entries(self, page: dict[str, Any]) -> Iterator[Entry]:
        start = len(self._key(""))
        for found in page.get("Contents", []):
            yield Entry(found["Key"][start:], found["Size"], found["LastModified"].astimezone(UTC))

    def _take(self, name: str, writer: str, put: Callable[[], None]) -> bool:
        """Put a file under a name that may be taken; True if it is this writer's now."""
        try:
            self._trials.call(put)
        except Refused as refused:
            if not (refused.is_taken or refused.is_missing):
                raise
            # Taken by ourselves, if an answer was lost on the way.
            found = self._head(name)
            if found is None:
                raise RetryableError(
                    f"{self.url}/{name} vanished while it was written; run again"
                ) from refused
            return bool(found["Metadata"].get(_WRITER) == writer)
        return True

    def _refuse_store_without_conditions(self, put: Callable[[], None]) -> None:
        """Make a request again that must be refused: a store may not know the condition."""
        try:
            self._trials.call(put)
        except Refused as refused:
            if refused.is_taken:
                return
            raise
        raise ConfigurationError(
            f"the store of {self.url} ignores If-None-Match, so two runs could take the same name "
            "without noticing; use a store that knows conditional writes"
        )

    def _send(self, path: Path, name: str, writer: str) -> None:
        with path.open("rb") as file:
            self._client.put_object(
                **self._where(name), Body=file, IfNoneMatch="*", Metadata={_WRITER: writer}
            )

    def _send_parts(self, path: Path, name: str, writer: str) -> None:
        where = self._where(name)
        begun = self._trials.call(
            lambda: self._client.create_multipart_upload(**where, Metadata={_WRITER: writer})
        )
        upload = begun["UploadId"]
        parts: list[dict[str, Any]] = []
        try:
            with path.open("rb") as file:
                while data := file.read(self._single_bytes // 4):
                    parts.append(self._send_part(where, upload, len(parts) + 1, data))
            self._client.complete_multipart_upload(
                **where, UploadId=upload, IfNoneMatch="*", MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with contextlib.suppress(Exception):
                self._client.abort_multipart_upload(**where, UploadId=upload)
            raise

    def _send_part(
        self, where: dict[str, str], upload: str, number: int, data: bytes
    ) -> dict[str, Any]:
        answer = self._trials.call(
            lambda: self._client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data)
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort(self, key: str, upload: str) -> None:
        with contextlib.suppress(Refused):
            self._trials.call(
                lambda: self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload
                )
            )

    def _fetch(self, name: str) -> None:
        """Bring a file here, whole or not at all."""
        where = self._where(name)
        temporary = self._cache.temporary()

        def get() -> None:
            answer = self._client.get_object(**where)
            with clear_disk_errors(self.root), temporary.open("wb") as file:
                for chunk in answer["Body"].iter_chunks(_CHUNK):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())

        try:
            self._trials.call(get)
            failpoint("bucket.fetch.after")
            self._cache.adopt(temporary, name)
        except Refused as refused:
            if refused.is_missing:
                raise FileNotFoundError(f"{self.url}/{name} does not exist") from None
            raise
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Link:
    """A connection of this process, and the lakes whose store was seen to keep conditions."""

    client: Any
    conditional: set[str]


def _said_by_environment() -> frozenset[tuple[str, str]]:
    return frozenset((name, said) for name, said in os.environ.items() if name.startswith("AWS_"))


@lru_cache(maxsize=8)
def _link(_process: int, timeout: float, _said: frozenset[tuple[str, str]]) -> _Link:
    """The process's one connection: every stage opens the lake, each need not connect again."""
    import boto3
    from botocore.config import Config

    # Tries are counted in one place, platemill.lake.trials.
    config = Config(
        connect_timeout=min(timeout, 10.0),
        read_timeout=timeout,
        retries={"total_max_attempts": 1},
        max_pool_connections=_AT_ONCE,
    )
    return _Link(boto3.session.Session().client("s3", config=config), set())

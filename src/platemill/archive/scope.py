"""Which images an inventory speaks of: those in places that were named and could be listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Scope", "containers_of", "lies_in"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The places that a run looked at.

    Args:
        archives: URIs of the archives that were named.
        unsure: URIs of archives, folders, tars and zips among them of which nothing is known, or
            not all.
    """

    archives: tuple[str, ...]
    unsure: tuple[str, ...] = ()

    def covers(self, uris: Any) -> npt.NDArray[np.bool_]:
        """Whether each image lies in an archive, and in no place that is unsure: bool [N]."""
        containers = containers_of(uris)
        return lies_in(containers, self.archives) & ~lies_in(containers, self.unsure)


def containers_of(uris: Any) -> Any:
    """The URI of the file that each image lies in: its own, or its tar's or zip's."""
    if pc.all(pc.starts_with(uris, "file:")).as_py() is not False:
        return uris
    return pc.replace_substring_regex(uris, r"^(?:tar|zip)://[^:]*::", "")


def lies_in(containers: Any, places: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Whether each file is, or lies below, one of the places: bool [N].

    Args:
        containers: URIs of files, N.
        places: URIs of folders and files.
    """
    inside = np.zeros(len(containers), np.bool_)
    exact: list[str] = []
    for place in places:
        folder = place.rstrip("/") + "/"
        exact.append(place)
        found: Any = pc.starts_with(containers, folder)
        inside |= found.to_numpy(zero_copy_only=False)
    if exact:
        same: Any = pc.is_in(containers, value_set=pa.array(exact, pa.string()))
        inside |= same.to_numpy(zero_copy_only=False)
    return inside

"""Shared memory that frames travel through to a Triton server on the same machine.

A frame copied once into memory that the server maps too costs a fifth of the same frame sent over
gRPC (docs/adr/0011). A region loses its name as soon as the server has it mapped, so that a killed
client leaves nothing in /dev/shm; what one leaves that is killed before, the next client sweeps.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from platemill.serving.regions import FRAMES, SHM, claim

__all__ = ["LARGEST_BYTES", "Slot"]

LARGEST_BYTES = 64 << 20
"""A larger frame goes as a plain tensor: rare, and a ring of such slots would fill /dev/shm."""

_STEP = 1 << 20


class Slot:
    """One region, registered with a server, that holds one frame at a time.

    Use as a context manager or call `close`. Not thread-safe: a slot is one thread's at a time.
    """

    def __init__(self, client: Any, size: int, folder: Path = SHM) -> None:
        """Make the region and register it.

        Args:
            client: a ``tritonclient.grpc.InferenceServerClient``.
            size: bytes at least.
            folder: where shared memory lies.

        Raises:
            OSError: there is no room, or no shared memory.
            tritonclient.utils.InferenceServerException: the server refuses the region.
        """
        self.name = f"{FRAMES}{os.getpid()}-{secrets.token_hex(6)}"
        self.size = -(-size // _STEP) * _STEP
        self._client = client
        path = folder / self.name
        try:
            descriptor = claim(path)
        except RuntimeError as error:  # the folder refuses, for the name is nobody else's
            raise PermissionError(str(error)) from None
        try:
            # Reserves the pages: a full /dev/shm is an error here, not a bus error later.
            os.posix_fallocate(descriptor, 0, self.size)
            self._memory = mmap.mmap(descriptor, self.size)
            client.register_system_shared_memory(self.name, f"/{self.name}", self.size)
        finally:
            os.close(descriptor)
            path.unlink()

    def write(self, frame: NDArray[np.uint8]) -> int:
        """Copy a frame in; returns its bytes.

        Raises:
            ValueError: it is larger than the slot.
        """
        if frame.nbytes > self.size:
            raise ValueError(f"a frame of {frame.nbytes} bytes does not fit {self.size}")
        target = np.frombuffer(self._memory, np.uint8, frame.nbytes).reshape(frame.shape)
        np.copyto(target, frame)
        return frame.nbytes

    def close(self) -> None:
        """Let the server forget the region; fine if it is gone."""
        from tritonclient.utils import InferenceServerException

        # If the server ended before its client, the region went with it.
        with contextlib.suppress(InferenceServerException):
            self._client.unregister_system_shared_memory(self.name)
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        self.close()

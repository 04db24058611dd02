"""Models' ``config.pbtxt``, read as Triton reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platemill.errors import ConfigurationError

__all__ = ["parse_config"]


def parse_config(path: Path) -> Any:
    """A ``config.pbtxt`` as Triton's own message.

    Raises:
        ConfigurationError: it is no model config.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigurationError(f"{path} is no model config: {error}") from None

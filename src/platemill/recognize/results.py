"""What became of an image: its row in ``images`` and its rows in ``recognitions``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from platemill.recognize.plan import PlannedImage
from platemill.schema import ImageStatus, Stage

__all__ = ["ImageResult", "Plate"]


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate in an image; its fields are columns of ``recognitions``. The box is in pixels."""

    plate: str
    raw_text: str
    confidence: float
    detection_score: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of an image.

    Args:
        image: what was planned.
        status: recognised, no_plate or quarantined.
        reason: why it is quarantined, a short stable word; else None.
        detail: why it is quarantined, for people; else None.
        stage: where it was quarantined; else None.
        tries: how often this run tried it; at least 1.
        width: as it is shown, in pixels; None if it was never decoded.
        height: as it is shown, in pixels; None if it was never decoded.
        plates: in the model's order; empty unless it is recognised.
        pipeline_version: what it was recognised with.
        run_id: the run that recognised it.
        processed_at: when, with a zone.
    """

    image: PlannedImage
    status: ImageStatus
    reason: str | None
    detail: str | None
    stage: Stage | None
    tries: int
    width: int | None
    height: int | None
    plates: tuple[Plate, ...]
    pipeline_version: str
    run_id: str
    processed_at: datetime

    def image_row(self) -> dict[str, object]:
        """Its row in ``images``, by column."""
        image = self.image
        return {
            "uri": image.uri,
            "image_id": image.image_id,
            "camera_id": image.camera_id,
            "captured_at": image.captured_at,
            "day": image.day,
            "byte_size": image.byte_size,
            "width": self.width,
            "height": self.height,
            "status": self.status.value,
            "reason": self.reason,
            "detail": self.detail,
            "stage": None if self.stage is None else self.stage.value,
            "attempts": self.image.attempts + self.tries,
            "plates": len(self.plates),
            "time_source": image.time_source,
            "modified_at": image.modified_at,
            "pipeline_version": self.pipeline_version,
            "run_id": self.run_id,
            "processed_at": self.processed_at,
            "deleted_at": None,
        }

    def recognition_rows(self) -> list[dict[str, object]]:
        """Its rows in ``recognitions``, by column."""
        image = self.image
        return [
            {
                "uri": image.uri,
                "image_id": image.image_id,
                "plate_index": index,
                "plate": plate.plate,
                "raw_text": plate.raw_text,
                "confidence": plate.confidence,
                "detection_score": plate.detection_score,
                "xmin": plate.xmin,
                "ymin": plate.ymin,
                "xmax": plate.xmax,
                "ymax": plate.ymax,
                "camera_id": image.camera_id,
                "captured_at": image.captured_at,
                "day": image.day,
                "pipeline_version": self.pipeline_version,
                "processed_at": self.processed_at,
            }
            for index, plate in enumerate(self.plates)
        ]

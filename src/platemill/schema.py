"""The schema, said once: tables, columns, types, units, keys, owners and descriptions.

The Parquet writer, DuckDB's views, Feast's fields and the data dictionary are derived from here.
Times are UTC in microseconds. ``SCHEMA_VERSION`` changes whenever a stored column's meaning does;
it is part of every shard's key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum, StrEnum

import pyarrow as pa

__all__ = [
    "CHECK_RESULTS",
    "CONFIDENCE_BINS",
    "DERIVED",
    "FACTS",
    "INVENTORY",
    "LOGS",
    "RUN_COSTS",
    "SCHEMA_VERSION",
    "STORED",
    "TABLES",
    "TILES",
    "Column",
    "ImageStatus",
    "Period",
    "Severity",
    "Stage",
    "Table",
    "TimeSource",
    "TrailingWindow",
]

SCHEMA_VERSION = "3"

TIMESTAMP = pa.timestamp("us", tz="UTC")
DATE = pa.date32()
TEXT = pa.string()
COUNT = pa.int64()
PIXELS = pa.float32()
COUNTS = pa.list_(pa.int64())
SHARE = pa.float32()
MEAN = pa.float64()
SECONDS = pa.float64()
SUM = pa.decimal128(38, 6)
SUM_OF_SQUARES = pa.decimal128(38, 12)


CONFIDENCE_BINS = 20
"""Bins of a confidence histogram, each 0.05 wide, the last one closed."""


class ImageStatus(StrEnum):
    """What became of an image."""

    RECOGNISED = "recognised"
    NO_PLATE = "no_plate"
    QUARANTINED = "quarantined"


class Stage(StrEnum):
    """Where an image was when it turned out that it cannot be used."""

    INVENTORY = "inventory"
    READ = "read"
    DECODE = "decode"
    INFER = "infer"


class TimeSource(StrEnum):
    """Where an image's camera and time came from."""

    LAYOUT = "layout"
    INDEX = "index"
    EXIF = "exif"
    FILE = "file"


class Period(StrEnum):
    """The length of time that a tile covers."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Severity(StrEnum):
    """What a check that found rows does to a night."""

    BLOCK = "block"
    WARN = "warn"


class TrailingWindow(IntEnum):
    """The lengths of trailing windows, in days; the last day is part of its window."""

    WEEK = 7
    FOUR_WEEKS = 28
    QUARTER = 90


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type, whether it may be null, its unit and what it says.

    ``feature`` marks a column that is served by the feature store, ``pii`` one whose values may
    point at a person: nobody is shown an example of them unasked.
    """

    name: str
    type: pa.DataType
    description: str
    unit: str = ""
    nullable: bool = False
    feature: bool = False
    pii: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the lake. ``key`` is unique; ``partition`` is the column that divides its files.

    A tile has a ``period``; ``entity`` is the feature store's join key, where it has one, and
    ``ttl`` says for how long after its ``event_timestamp`` a row still answers for its key. A
    table that is ``derived_from`` another has no files: it is that table's rows through the SQL of
    its ``view.sql``.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: str
    period: Period | None = None
    entity: str | None = None
    ttl: timedelta | None = None
    derived_from: str | None = None
    owner: str = "data-engineering"
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema that every file of the table is written with."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the feature store serves."""
        return tuple(c for c in self.columns if c.feature)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(column.name for column in self.features)

    def column(self, name: str) -> Column:
        """The column of that name; ``KeyError`` if there is none."""
        for candidate in self.columns:
            if candidate.name == name:
                return candidate
        raise KeyError(f"{self.name} has no column {name}")


_PIPELINE = Column(
    "pipeline_version", TEXT, "hash of the weights, the configs and the pre- and post-processing"
)
_PLATE = Column(
    "plate", TEXT, "the plate's text, Latin look-alikes of the Cyrillic letters", pii=True
)
_CAMERA = Column("camera_id", TEXT, "the camera that took the image")
_IMAGE_ID = Column(
    "image_id", TEXT, "BLAKE2b-128 of the image's bytes, hex; of its URI if they were never read"
)
_CAPTURED = Column("captured_at", TIMESTAMP, "when the image was taken", "UTC")
_DAY = Column("day", DATE, "the UTC day of captured_at")
_PROCESSED = Column("processed_at", TIMESTAMP, "when the row was made", "UTC")
_DELETED = Column(
    "deleted_at",
    TIMESTAMP,
    "when an inventory first missed it in the archive; null while it is there",
    "UTC",
    nullable=True,
)
_URI = Column(
    "uri", TEXT, "where the image lies: file:///…, tar://member::file:///…, zip://…", pii=True
)
_BYTE_SIZE = Column("byte_size", COUNT, "size of the encoded image", "bytes")
_MODIFIED = Column("modified_at", TIMESTAMP, "the file's modification time", "UTC")
_TIME_SOURCE = Column(
    "time_source", TEXT, "what camera and time came from: layout, index, exif or file"
)

INVENTORY = Table(
    "inventory",
    "what the archives held when they were last looked at; compared with, not asked by SQL",
    (
        _URI,
        _IMAGE_ID,
        _CAMERA,
        _CAPTURED,
        _DAY,
        _BYTE_SIZE,
        _MODIFIED,
        _TIME_SOURCE,
        Column("offset", COUNT, "where a tar's or zip's member starts", "bytes", nullable=True),
        Column(
            "archive_stamp",
            TEXT,
            "size, time and images of the tar or zip that a member lies in, when it was listed",
            nullable=True,
        ),
        Column("rejected_reason", TEXT, "why it cannot be used, a short word", nullable=True),
        Column("rejected_detail", TEXT, "why it cannot be used, for people", "", True, pii=True),
        _DELETED,
    ),
    key=("uri",),
    partition="day",
)

IMAGES = Table(
    "images",
    "a row for every image ever seen, whatever became of it",
    (
        _URI,
        _IMAGE_ID,
        _CAMERA,
        _CAPTURED,
        _DAY,
        _BYTE_SIZE,
        Column("width", pa.int32(), "width as it is shown", "pixels", nullable=True),
        Column("height", pa.int32(), "height as it is shown", "pixels", nullable=True),
        Column("status", TEXT, "recognised, no_plate or quarantined"),
        Column("reason", TEXT, "why an image is quarantined, a short stable word", nullable=True),
        Column("detail", TEXT, "why an image is quarantined, for people", "", True, pii=True),
        Column(
            "stage",
            TEXT,
            "where it was quarantined: inventory, read, decode or infer",
            nullable=True,
        ),
        Column("attempts", COUNT, "how often its recognition was tried, over all runs", "count"),
        Column("plates", pa.int32(), "plates seen: this image's rows in recognitions", "count"),
        _TIME_SOURCE,
        _MODIFIED,
        _PIPELINE,
        Column("run_id", TEXT, "the run that made the row"),
        _PROCESSED,
        _DELETED,
    ),
    key=("uri", "pipeline_version"),
    partition="day",
)

RECOGNITIONS = Table(
    "recognitions",
    "a row for every plate seen: atomic facts, nothing is aggregated here",
    (
        Column("uri", TEXT, "the image's URI", pii=True),
        _IMAGE_ID,
        Column("plate_index", pa.int32(), "place of the plate in its image, from 0"),
        Column("plate", TEXT, "the plate's text; empty if it is not a well-formed plate", pii=True),
        Column("raw_text", TEXT, "what was read, before the format was applied", pii=True),
        Column("confidence", SHARE, "confidence of the text", "0 to 1"),
        Column("detection_score", SHARE, "confidence of the box", "0 to 1"),
        Column("xmin", PIXELS, "left edge of the box", "pixels"),
        Column("ymin", PIXELS, "top edge of the box", "pixels"),
        Column("xmax", PIXELS, "right edge of the box", "pixels"),
        Column("ymax", PIXELS, "bottom edge of the box", "pixels"),
        _CAMERA,
        _CAPTURED,
        _DAY,
        _PIPELINE,
        _PROCESSED,
    ),
    key=("uri", "plate_index", "pipeline_version"),
    partition="day",
    tags={"pii": "plate"},
)

FACTS = (IMAGES, RECOGNITIONS)


def _confidence() -> tuple[Column, ...]:
    return (
        Column("confidence_sum", SUM, "sum of the texts' confidences, to 6 decimals each"),
        Column("confidence_sum_sq", SUM_OF_SQUARES, "sum of their squares"),
        Column("confidence_min", SHARE, "lowest confidence", "0 to 1", nullable=True),
        Column("confidence_max", SHARE, "highest confidence", "0 to 1", True, feature=True),
        Column("confidence_mean", MEAN, "mean confidence", "0 to 1", True, feature=True),
        Column(
            "confidence_variance",
            MEAN,
            "population variance of the confidences; 0 for a single one",
            "",
            True,
            feature=True,
        ),
    )


def _seen(what: str) -> tuple[Column, ...]:
    return (
        Column("first_seen", TIMESTAMP, f"first {what} of the period", "UTC", feature=True),
        Column("last_seen", TIMESTAMP, f"last {what} of the period", "UTC", feature=True),
    )


def _when(what: str) -> tuple[Column, ...]:
    """How the sightings or images of a period lie in time."""
    return (
        Column("hours", COUNTS, f"{what} by UTC hour of day: 24 counts", "count", feature=True),
        Column(f"weekday_{what}", COUNT, f"{what} from Monday to Friday, in UTC", "count"),
        Column("weekday_share", MEAN, f"weekday_{what} / {what}", "0 to 1", feature=True),
    )


def _gaps(what: str) -> tuple[Column, ...]:
    """Times between one sighting or image and the next; there is none after the only one."""
    return (
        Column(
            "gap_max_seconds",
            SECONDS,
            f"longest time between a {what} and the next of the period; null if there is one only",
            "seconds",
            True,
            feature=True,
        ),
        Column(
            "gap_mean_seconds",
            SECONDS,
            f"mean time between a {what} and the next of the period; null if there is one only",
            "seconds",
            True,
            feature=True,
        ),
    )


def _known() -> tuple[Column, ...]:
    return (
        Column("event_timestamp", TIMESTAMP, "end of the period, when the tile is complete", "UTC"),
        Column("created_timestamp", TIMESTAMP, "when this value became known", "UTC"),
    )


_TTL = {
    Period.DAY: timedelta(days=90),
    Period.WEEK: timedelta(weeks=52),
    Period.MONTH: timedelta(days=3 * 365),
}


def _start(period: Period) -> Column:
    what = {
        Period.DAY: "the UTC day",
        Period.WEEK: "the ISO week, by its Monday",
        Period.MONTH: "the month, by its first day",
    }
    return Column(period.value, DATE, what[period])


def _plate_tile(period: Period) -> Table:
    return Table(
        f"plate_{period}_v1",
        f"sightings of a plate in a {period}",
        (
            _PLATE,
            _start(period),
            _PIPELINE,
            Column("sightings", COUNT, "times the plate was seen", "count", feature=True),
            Column("cameras", COUNT, "distinct cameras that saw it", "count", feature=True),
            Column("days_seen", COUNT, "days on which it was seen", "days", feature=True),
            *_when("sightings"),
            *_seen("sighting"),
            *_gaps("sighting"),
            Column("first_camera", TEXT, "camera of the first sighting", feature=True),
            Column("last_camera", TEXT, "camera of the last sighting", feature=True),
            *_confidence(),
            *_known(),
        ),
        key=("plate", period.value, "pipeline_version"),
        partition=period.value,
        period=period,
        entity="plate",
        ttl=_TTL[period],
        tags={"grain": period.value, "pii": "plate"},
    )


def _camera_tile(period: Period) -> Table:
    return Table(
        f"camera_{period}_v1",
        f"what a camera delivered in a {period}",
        (
            _CAMERA,
            _start(period),
            _PIPELINE,
            Column("images", COUNT, "images taken", "count", feature=True),
            Column("recognised", COUNT, "images with at least one plate", "count", feature=True),
            Column("no_plate", COUNT, "images without a plate", "count", feature=True),
            Column("quarantined", COUNT, "images that could not be used", "count", feature=True),
            Column("plates", COUNT, "plates seen, well formed or not", "count", feature=True),
            Column("well_formed", COUNT, "plates with a well-formed text", "count", feature=True),
            Column("distinct_plates", COUNT, "distinct well-formed texts", "count", feature=True),
            Column(
                "well_formed_share",
                MEAN,
                "well_formed / plates; null if there are no plates",
                "0 to 1",
                True,
                feature=True,
            ),
            *_when("images"),
            *_seen("image"),
            *_gaps("image"),
            *_confidence(),
            Column(
                "confidence_histogram",
                COUNTS,
                f"plates by confidence: {CONFIDENCE_BINS} counts, a bin is {1 / CONFIDENCE_BINS:g} "
                "wide",
                "count",
                feature=True,
            ),
            *_known(),
        ),
        key=("camera_id", period.value, "pipeline_version"),
        partition=period.value,
        period=period,
        entity="camera_id",
        ttl=_TTL[period],
        tags={"grain": period.value},
    )


PLATE_CAMERA_DAY = Table(
    "plate_camera_day_v1",
    "sightings of a plate by a camera in a day; distinct counts are merged from it",
    (
        _PLATE,
        _CAMERA,
        _start(Period.DAY),
        _PIPELINE,
        Column("sightings", COUNT, "times the camera saw the plate", "count"),
        Column("first_seen", TIMESTAMP, "first sighting of the day", "UTC"),
        Column("last_seen", TIMESTAMP, "last sighting of the day", "UTC"),
        *_known(),
    ),
    key=("plate", "camera_id", "day", "pipeline_version"),
    partition="day",
    period=Period.DAY,
    tags={"grain": "day", "pii": "plate"},
)

_FLOATS = pa.list_(pa.float32())
_TEXTS = pa.list_(pa.string())

IMAGE_RECOGNITIONS = Table(
    "image_recognitions_v1",
    "everything that was read from an image, in one row; the lists are in the order of plate_index",
    (
        _IMAGE_ID,
        _start(Period.DAY),
        _PIPELINE,
        Column("camera_id", TEXT, "the camera that took the image", feature=True),
        Column("captured_at", TIMESTAMP, "when the image was taken", "UTC", feature=True),
        Column("status", TEXT, "recognised, no_plate or quarantined", feature=True),
        Column("reason", TEXT, "why it is quarantined, a short word", "", True, feature=True),
        Column("plates", COUNT, "plates seen", "count", feature=True),
        Column(
            "texts",
            _TEXTS,
            "the plates; empty text: not a well-formed plate",
            feature=True,
            pii=True,
        ),
        Column(
            "raw_texts",
            _TEXTS,
            "what was read, before the format was applied",
            feature=True,
            pii=True,
        ),
        Column("confidences", _FLOATS, "confidences of the texts", "0 to 1", feature=True),
        Column("detection_scores", _FLOATS, "confidences of the boxes", "0 to 1", feature=True),
        Column("boxes", _FLOATS, "xmin, ymin, xmax, ymax of each plate", "pixels", feature=True),
        Column("copies", COUNT, "names under which the archives hold it", "count", feature=True),
        Column("event_timestamp", TIMESTAMP, "when the image was taken", "UTC"),
        Column("created_timestamp", TIMESTAMP, "when this value became known", "UTC"),
    ),
    key=("image_id", "day", "pipeline_version"),
    partition="day",
    period=Period.DAY,
    entity="image_id",
    ttl=timedelta(days=10 * 365),
    tags={"grain": "image", "pii": "plate"},
)

# In the order in which they are built: a tile reads only what stands before it.
TILES = (
    PLATE_CAMERA_DAY,
    *(_plate_tile(period) for period in Period),
    *(_camera_tile(period) for period in Period),
    IMAGE_RECOGNITIONS,
)


def _windows(name: str, arrow: pa.DataType, what: str, unit: str, *, null: bool) -> list[Column]:
    said = {days: f"{what} in the last {days} days" for days in TrailingWindow}
    return [
        Column(f"{name}_{days}d", arrow, text, unit, null, feature=True)
        for days, text in said.items()
    ]


_AS_OF = Column("as_of", DATE, "the last day of the windows, which is part of them")
_TRAILING_KNOWN = (
    Column("event_timestamp", TIMESTAMP, "midnight after as_of, when the windows end", "UTC"),
    Column("created_timestamp", TIMESTAMP, "when this value became known", "UTC"),
)
_TRAILING_ROWS = (
    "a row at each day on which a window gains or loses a day, so that the newest row up to any "
    "day is that day's answer"
)

PLATE_TRAILING = Table(
    "plate_trailing_v1",
    f"sightings of a plate in the last 7, 28 and 90 days; {_TRAILING_ROWS}",
    (
        _PLATE,
        _AS_OF,
        _PIPELINE,
        *_windows("sightings", COUNT, "times the plate was seen", "count", null=False),
        *_windows("days_seen", COUNT, "days on which it was seen", "days", null=False),
        *_windows("weekday_share", MEAN, "share seen from Monday to Friday", "0 to 1", null=True),
        *_windows("confidence_mean", MEAN, "mean confidence", "0 to 1", null=True),
        *_windows("last_seen", TIMESTAMP, "last sighting", "UTC", null=True),
        *_TRAILING_KNOWN,
    ),
    key=("plate", "as_of", "pipeline_version"),
    partition="as_of",
    entity="plate",
    ttl=timedelta(days=90),
    derived_from="plate_day_v1",
    tags={"grain": "trailing", "pii": "plate"},
)

CAMERA_TRAILING = Table(
    "camera_trailing_v1",
    f"what a camera delivered in the last 7, 28 and 90 days; {_TRAILING_ROWS}",
    (
        _CAMERA,
        _AS_OF,
        _PIPELINE,
        *_windows("images", COUNT, "images taken", "count", null=False),
        *_windows("quarantined", COUNT, "images that could not be used", "count", null=False),
        *_windows("plates", COUNT, "plates seen, well formed or not", "count", null=False),
        *_windows("days_seen", COUNT, "days with an image", "days", null=False),
        *_windows("quarantined_share", MEAN, "quarantined / images", "0 to 1", null=True),
        *_windows("well_formed_share", MEAN, "share of well-formed plates", "0 to 1", null=True),
        *_windows("confidence_mean", MEAN, "mean confidence", "0 to 1", null=True),
        *_TRAILING_KNOWN,
    ),
    key=("camera_id", "as_of", "pipeline_version"),
    partition="as_of",
    entity="camera_id",
    ttl=timedelta(days=90),
    derived_from="camera_day_v1",
    tags={"grain": "trailing"},
)

# Views over tiles: no files, and nothing that an online store holds, since they change every day.
DERIVED = (PLATE_TRAILING, CAMERA_TRAILING)

CHECK_RESULTS = Table(
    "check_results",
    "what the checks of each published night found; a night that was stopped has its results in "
    "runs/<run_id>/checks.parquet",
    (
        Column("run_id", TEXT, "the run that checked"),
        Column("generation", COUNT, "the generation that was checked"),
        Column("checked_at", TIMESTAMP, "the time of that generation", "UTC"),
        Column("day", DATE, "the UTC day of checked_at"),
        Column("table_name", TEXT, "the table that was checked"),
        Column("check_name", TEXT, "the check, by its name in the table's checks.sql"),
        Column("severity", TEXT, "block: a night with such rows is not published; or warn"),
        Column("failed", COUNT, "rows, or groups of rows, that break the check", "count"),
        Column("value", MEAN, "the worst that was measured; null: failed says it", "", True),
        Column("detail", TEXT, "one of what broke the check, for people", "", True, pii=True),
    ),
    key=("run_id", "generation", "table_name", "check_name"),
    partition="day",
    tags={"grain": "check"},
)

RUN_COSTS = Table(
    "run_costs",
    "what runs took and cost, beside what was expected; runs that failed are in it, too",
    (
        Column("run_id", TEXT, "the run"),
        Column("run_day", DATE, "the UTC day on which the run began"),
        Column("outcome", TEXT, "published, nothing_new, or stopped: it failed or was ended"),
        Column(
            "stage",
            TEXT,
            "inventory, plan, recognise, facts, tiles, checks, features, publish; recognise_start "
            "and recognise_idle: nodes that wait for their first shard, or for another one; "
            "between: the time from one stage to the next",
        ),
        Column(
            "day",
            DATE,
            "the UTC day of the images that it was spent on; null: of no image",
            nullable=True,
        ),
        Column(
            "pipeline_version",
            TEXT,
            "hash of the weights, the configs and the pre- and post-processing; null: the run had "
            "no plan yet",
            nullable=True,
        ),
        Column("node_kind", TEXT, "the kind of the nodes, as the price table names it"),
        Column("images", COUNT, "images of the day that went through the stage", "count"),
        Column("seconds", SECONDS, "the day's share of the stage's time by the clock", "seconds"),
        Column("node_seconds", SECONDS, "the day's share of what nodes were up", "seconds"),
        Column(
            "price",
            MEAN,
            "node_seconds at the price that the run's settings gave; null: they gave none",
            "currency",
            True,
        ),
        Column("currency", TEXT, "what price is counted in", nullable=True),
        Column(
            "estimated_seconds",
            SECONDS,
            "what was expected of seconds before the recognition; null: nothing was known",
            "seconds",
            True,
        ),
        Column("estimated_price", MEAN, "what was expected of price", "currency", True),
        Column(
            "cost_per_million_images",
            MEAN,
            "price / images, of a million; null without a price or an image",
            "currency",
            True,
        ),
        Column("through", TIMESTAMP, "the last line of the run's journal that is counted", "UTC"),
    ),
    key=("run_id", "stage", "day", "node_kind"),
    partition="run_day",
    tags={"grain": "run, stage, day and kind of node"},
)

# What tells of nights and not of the archive: what a rollback takes back was done and paid.
LOGS = (CHECK_RESULTS, RUN_COSTS)

# What has files, in the order in which it is written.
STORED = (*FACTS, *TILES, *LOGS)

TABLES: dict[str, Table] = {table.name: table for table in (*STORED, *DERIVED)}

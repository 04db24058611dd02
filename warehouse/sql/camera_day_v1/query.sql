-- What a camera delivered on a day: its images by status, and the plates on them.
-- A photo that is archived under two names counts once, by the better of its two results.
WITH photo AS (
    SELECT
        camera_id,
        pipeline_version,
        captured_at,
        hour(captured_at AT TIME ZONE 'UTC') AS hour,
        status
    FROM images
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id
        ORDER BY CASE status WHEN 'recognised' THEN 0 WHEN 'no_plate' THEN 1 ELSE 2 END, uri
    ) = 1
),
spaced AS (
    SELECT
        *,
        epoch_us(captured_at) - lag(epoch_us(captured_at)) OVER (
            PARTITION BY camera_id, pipeline_version ORDER BY captured_at
        ) AS gap
    FROM photo
),
sighting AS (
    SELECT
        plate,
        camera_id,
        pipeline_version,
        confidence,
        -- A decimal adds up exactly, whatever the order.
        CAST(confidence AS DECIMAL(7, 6)) AS exact,
        least(CAST(floor(exact * 20) AS INTEGER), 19) AS bin
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index ORDER BY uri
    ) = 1
),
taken AS (
    SELECT
        camera_id,
        pipeline_version,
        count(*) AS images,
        count(*) FILTER (WHERE status = 'recognised') AS recognised,
        count(*) FILTER (WHERE status = 'no_plate') AS no_plate,
        count(*) FILTER (WHERE status = 'quarantined') AS quarantined,
        [
            count(*) FILTER (WHERE hour = 0),
            count(*) FILTER (WHERE hour = 1),
            count(*) FILTER (WHERE hour = 2),
            count(*) FILTER (WHERE hour = 3),
            count(*) FILTER (WHERE hour = 4),
            count(*) FILTER (WHERE hour = 5),
            count(*) FILTER (WHERE hour = 6),
            count(*) FILTER (WHERE hour = 7),
            count(*) FILTER (WHERE hour = 8),
            count(*) FILTER (WHERE hour = 9),
            count(*) FILTER (WHERE hour = 10),
            count(*) FILTER (WHERE hour = 11),
            count(*) FILTER (WHERE hour = 12),
            count(*) FILTER (WHERE hour = 13),
            count(*) FILTER (WHERE hour = 14),
            count(*) FILTER (WHERE hour = 15),
            count(*) FILTER (WHERE hour = 16),
            count(*) FILTER (WHERE hour = 17),
            count(*) FILTER (WHERE hour = 18),
            count(*) FILTER (WHERE hour = 19),
            count(*) FILTER (WHERE hour = 20),
            count(*) FILTER (WHERE hour = 21),
            count(*) FILTER (WHERE hour = 22),
            count(*) FILTER (WHERE hour = 23)
        ] AS hours,
        min(captured_at) AS first_seen,
        max(captured_at) AS last_seen,
        max(gap) AS gap_max
    FROM spaced
    GROUP BY camera_id, pipeline_version
),
read AS (
    SELECT
        camera_id,
        pipeline_version,
        count(*) AS plates,
        count(*) FILTER (WHERE plate <> '') AS well_formed,
        count(DISTINCT plate) FILTER (WHERE plate <> '') AS distinct_plates,
        CAST(sum(exact) AS DECIMAL(38, 6)) AS confidence_sum,
        CAST(sum(exact * exact) AS DECIMAL(38, 12)) AS confidence_sum_sq,
        min(confidence) AS confidence_min,
        max(confidence) AS confidence_max,
        [
            count(*) FILTER (WHERE bin = 0),
            count(*) FILTER (WHERE bin = 1),
            count(*) FILTER (WHERE bin = 2),
            count(*) FILTER (WHERE bin = 3),
            count(*) FILTER (WHERE bin = 4),
            count(*) FILTER (WHERE bin = 5),
            count(*) FILTER (WHERE bin = 6),
            count(*) FILTER (WHERE bin = 7),
            count(*) FILTER (WHERE bin = 8),
            count(*) FILTER (WHERE bin = 9),
            count(*) FILTER (WHERE bin = 10),
            count(*) FILTER (WHERE bin = 11),
            count(*) FILTER (WHERE bin = 12),
            count(*) FILTER (WHERE bin = 13),
            count(*) FILTER (WHERE bin = 14),
            count(*) FILTER (WHERE bin = 15),
            count(*) FILTER (WHERE bin = 16),
            count(*) FILTER (WHERE bin = 17),
            count(*) FILTER (WHERE bin = 18),
            count(*) FILTER (WHERE bin = 19)
        ] AS confidence_histogram
    FROM sighting
    GROUP BY camera_id, pipeline_version
)
SELECT
    camera_id,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    images,
    recognised,
    no_plate,
    quarantined,
    coalesce(read.plates, 0) AS plates,
    coalesce(read.well_formed, 0) AS well_formed,
    coalesce(read.distinct_plates, 0) AS distinct_plates,
    CAST(read.well_formed AS DOUBLE) / read.plates AS well_formed_share,
    hours,
    CASE WHEN isodow(CAST($period_start AS DATE)) <= 5 THEN images ELSE 0 END AS weekday_images,
    CAST(weekday_images AS DOUBLE) / images AS weekday_share,
    first_seen,
    last_seen,
    gap_max / 1e6 AS gap_max_seconds,
    (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 / nullif(images - 1, 0)
        AS gap_mean_seconds,
    CAST(coalesce(read.confidence_sum, 0) AS DECIMAL(38, 6)) AS confidence_sum,
    CAST(coalesce(read.confidence_sum_sq, 0) AS DECIMAL(38, 12)) AS confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(read.confidence_sum AS DOUBLE) / read.plates AS confidence_mean,
    -- Exact until the division, so that it is never below zero.
    CAST(
        read.plates * read.confidence_sum_sq - read.confidence_sum * read.confidence_sum AS DOUBLE
    ) / (CAST(read.plates AS DOUBLE) * read.plates) AS confidence_variance,
    coalesce(read.confidence_histogram, list_resize(CAST([] AS BIGINT[]), 20, 0))
        AS confidence_histogram,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM taken
LEFT JOIN read USING (camera_id, pipeline_version)

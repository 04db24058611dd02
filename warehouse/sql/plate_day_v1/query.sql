-- Sightings of a plate on a day. Only well-formed plates have a tile.
-- A sighting is one plate of one photo; a photo that is archived under two names counts once.
WITH sighting AS (
    SELECT
        plate,
        camera_id,
        pipeline_version,
        captured_at,
        hour(captured_at AT TIME ZONE 'UTC') AS hour,
        confidence,
        -- A decimal adds up exactly, whatever the order.
        CAST(confidence AS DECIMAL(7, 6)) AS exact
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index ORDER BY uri
    ) = 1
),
spaced AS (
    SELECT
        *,
        epoch_us(captured_at) - lag(epoch_us(captured_at)) OVER (
            PARTITION BY plate, pipeline_version ORDER BY captured_at
        ) AS gap
    FROM sighting
    WHERE plate <> ''
),
counted AS (
    SELECT
        plate,
        pipeline_version,
        count(*) AS sightings,
        count(DISTINCT camera_id) AS cameras,
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
        max(gap) AS gap_max,
        arg_min(camera_id, row(captured_at, camera_id)) AS first_camera,
        arg_max(camera_id, row(captured_at, camera_id)) AS last_camera,
        CAST(sum(exact) AS DECIMAL(38, 6)) AS confidence_sum,
        CAST(sum(exact * exact) AS DECIMAL(38, 12)) AS confidence_sum_sq,
        min(confidence) AS confidence_min,
        max(confidence) AS confidence_max
    FROM spaced
    GROUP BY plate, pipeline_version
)
SELECT
    plate,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    sightings,
    cameras,
    CAST(1 AS BIGINT) AS days_seen,
    hours,
    CASE WHEN isodow(CAST($period_start AS DATE)) <= 5 THEN sightings ELSE 0 END
        AS weekday_sightings,
    CAST(weekday_sightings AS DOUBLE) / sightings AS weekday_share,
    first_seen,
    last_seen,
    gap_max / 1e6 AS gap_max_seconds,
    (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 / nullif(sightings - 1, 0)
        AS gap_mean_seconds,
    first_camera,
    last_camera,
    confidence_sum,
    confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(confidence_sum AS DOUBLE) / sightings AS confidence_mean,
    -- Exact until the division, so that it is never below zero.
    CAST(sightings * confidence_sum_sq - confidence_sum * confidence_sum AS DOUBLE)
        / (CAST(sightings AS DOUBLE) * sightings) AS confidence_variance,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM counted

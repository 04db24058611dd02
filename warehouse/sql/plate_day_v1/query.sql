-- Sightings of a plate on a day. Only well-formed plates have a tile.
-- A sighting is one plate of one photo; a photo that is archived under two names counts once.
WITH sighting AS (
    SELECT
        plate,
        camera_id,
        pipeline_version,
        captured_at,
        confidence,
        -- A decimal adds up exactly, whatever the order.
        CAST(confidence AS DECIMAL(7, 6)) AS exact
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index ORDER BY uri
    ) = 1
)
SELECT
    plate,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    count(*) AS sightings,
    count(DISTINCT camera_id) AS cameras,
    CAST(1 AS BIGINT) AS days_seen,
    min(captured_at) AS first_seen,
    max(captured_at) AS last_seen,
    arg_min(camera_id, row(captured_at, camera_id)) AS first_camera,
    arg_max(camera_id, row(captured_at, camera_id)) AS last_camera,
    CAST(sum(exact) AS DECIMAL(38, 6)) AS confidence_sum,
    CAST(sum(exact * exact) AS DECIMAL(38, 12)) AS confidence_sum_sq,
    min(confidence) AS confidence_min,
    max(confidence) AS confidence_max,
    CAST(sum(exact) AS DOUBLE) / count(*) AS confidence_mean,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM sighting
WHERE plate <> ''
GROUP BY plate, pipeline_version

-- Sightings of a plate by a camera on a day.
-- A sighting is one plate of one photo; a photo that is archived under two names counts once.
WITH sighting AS (
    SELECT plate, camera_id, pipeline_version, captured_at
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index ORDER BY uri
    ) = 1
)
SELECT
    plate,
    camera_id,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    count(*) AS sightings,
    min(captured_at) AS first_seen,
    max(captured_at) AS last_seen,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM sighting
WHERE plate <> ''
GROUP BY plate, camera_id, pipeline_version

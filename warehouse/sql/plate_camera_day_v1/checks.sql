-- Sightings by plate, camera and day, for the days that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', plate, camera_id, day, pipeline_version)) AS detail
FROM (
    SELECT plate, camera_id, day, pipeline_version FROM plate_camera_day_v1
    GROUP BY plate, camera_id, day, pipeline_version HAVING count(*) > 1
)
UNION ALL
SELECT
    'sightings_of_facts',
    'block',
    abs(t.sightings - f.sightings),
    concat(t.sightings, ' <> ', f.sightings)
FROM (SELECT coalesce(sum(sightings), 0)::BIGINT AS sightings FROM plate_camera_day_v1) AS t
CROSS JOIN (
    SELECT count(*) AS sightings
    FROM (
        SELECT plate
        FROM recognitions
        QUALIFY row_number() OVER (
            PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index
            ORDER BY uri
        ) = 1
    )
    WHERE plate <> ''
) AS f
UNION ALL
SELECT 'period_and_times', 'block', count(*), min(concat_ws(' ', plate, day, first_seen, last_seen))
FROM plate_camera_day_v1
WHERE first_seen > last_seen
    OR first_seen < day::TIMESTAMP AT TIME ZONE 'UTC'
    OR last_seen >= event_timestamp
    OR event_timestamp <> (day + INTERVAL 1 DAY) AT TIME ZONE 'UTC'

-- Sightings of a plate in a month, merged from its days. Distinct cameras do not add up over days,
-- so they are counted in plate_camera_day_v1.
WITH camera AS (
    SELECT plate, pipeline_version, count(DISTINCT camera_id) AS cameras
    FROM plate_camera_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY plate, pipeline_version
),
merged AS (
    SELECT
        plate,
        pipeline_version,
        sum(sightings) AS sightings,
        sum(days_seen) AS days_seen,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        arg_min(first_camera, row(first_seen, first_camera)) AS first_camera,
        arg_max(last_camera, row(last_seen, last_camera)) AS last_camera,
        sum(confidence_sum) AS confidence_sum,
        sum(confidence_sum_sq) AS confidence_sum_sq,
        min(confidence_min) AS confidence_min,
        max(confidence_max) AS confidence_max
    FROM plate_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY plate, pipeline_version
)
SELECT
    plate,
    CAST($period_start AS DATE) AS month,
    pipeline_version,
    CAST(sightings AS BIGINT) AS sightings,
    cameras,
    CAST(days_seen AS BIGINT) AS days_seen,
    first_seen,
    last_seen,
    first_camera,
    last_camera,
    CAST(confidence_sum AS DECIMAL(38, 6)) AS confidence_sum,
    CAST(confidence_sum_sq AS DECIMAL(38, 12)) AS confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(confidence_sum AS DOUBLE) / CAST(sightings AS BIGINT) AS confidence_mean,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM merged
JOIN camera USING (plate, pipeline_version)

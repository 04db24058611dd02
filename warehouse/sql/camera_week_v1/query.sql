-- What a camera delivered in a week, merged from its days. Distinct plates do not add up over days,
-- so they are counted in plate_camera_day_v1.
WITH plate AS (
    SELECT camera_id, pipeline_version, count(DISTINCT plate) AS distinct_plates
    FROM plate_camera_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY camera_id, pipeline_version
),
merged AS (
    SELECT
        camera_id,
        pipeline_version,
        sum(images) AS images,
        sum(recognised) AS recognised,
        sum(no_plate) AS no_plate,
        sum(quarantined) AS quarantined,
        sum(plates) AS plates,
        sum(well_formed) AS well_formed,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        sum(confidence_sum) AS confidence_sum,
        sum(confidence_sum_sq) AS confidence_sum_sq,
        min(confidence_min) AS confidence_min,
        max(confidence_max) AS confidence_max
    FROM camera_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY camera_id, pipeline_version
)
SELECT
    camera_id,
    CAST($period_start AS DATE) AS week,
    pipeline_version,
    CAST(images AS BIGINT) AS images,
    CAST(recognised AS BIGINT) AS recognised,
    CAST(no_plate AS BIGINT) AS no_plate,
    CAST(quarantined AS BIGINT) AS quarantined,
    CAST(plates AS BIGINT) AS plates,
    CAST(well_formed AS BIGINT) AS well_formed,
    coalesce(distinct_plates, 0) AS distinct_plates,
    first_seen,
    last_seen,
    CAST(confidence_sum AS DECIMAL(38, 6)) AS confidence_sum,
    CAST(confidence_sum_sq AS DECIMAL(38, 12)) AS confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(confidence_sum AS DOUBLE) / nullif(CAST(plates AS BIGINT), 0) AS confidence_mean,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM merged
LEFT JOIN plate USING (camera_id, pipeline_version)

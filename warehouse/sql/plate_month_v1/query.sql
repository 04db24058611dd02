-- Sightings of a plate in a month, merged from its days. Distinct cameras do not add up over days,
-- so they are counted in plate_camera_day_v1.
WITH camera AS (
    SELECT plate, pipeline_version, count(DISTINCT camera_id) AS cameras
    FROM plate_camera_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY plate, pipeline_version
),
spaced AS (
    SELECT
        plate,
        pipeline_version,
        gap_max_seconds,
        (
            epoch_us(first_seen) - lag(epoch_us(last_seen)) OVER (
                PARTITION BY plate, pipeline_version ORDER BY day
            )
        ) / 1e6 AS seconds_before
    FROM plate_day_v1
    WHERE day >= $period_start AND day < $period_end
),
gap AS (
    SELECT
        plate,
        pipeline_version,
        max(greatest(gap_max_seconds, seconds_before)) AS gap_max_seconds
    FROM spaced
    GROUP BY plate, pipeline_version
),
merged AS (
    SELECT
        plate,
        pipeline_version,
        CAST(sum(sightings) AS BIGINT) AS sightings,
        CAST(sum(days_seen) AS BIGINT) AS days_seen,
        [
            sum(hours[1]), sum(hours[2]), sum(hours[3]), sum(hours[4]),
            sum(hours[5]), sum(hours[6]), sum(hours[7]), sum(hours[8]),
            sum(hours[9]), sum(hours[10]), sum(hours[11]), sum(hours[12]),
            sum(hours[13]), sum(hours[14]), sum(hours[15]), sum(hours[16]),
            sum(hours[17]), sum(hours[18]), sum(hours[19]), sum(hours[20]),
            sum(hours[21]), sum(hours[22]), sum(hours[23]), sum(hours[24])
        ] AS hours,
        CAST(sum(weekday_sightings) AS BIGINT) AS weekday_sightings,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        arg_min(first_camera, row(first_seen, first_camera)) AS first_camera,
        arg_max(last_camera, row(last_seen, last_camera)) AS last_camera,
        CAST(sum(confidence_sum) AS DECIMAL(38, 6)) AS confidence_sum,
        CAST(sum(confidence_sum_sq) AS DECIMAL(38, 12)) AS confidence_sum_sq,
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
    sightings,
    cameras,
    days_seen,
    CAST(hours AS BIGINT[]) AS hours,
    weekday_sightings,
    CAST(weekday_sightings AS DOUBLE) / sightings AS weekday_share,
    first_seen,
    last_seen,
    gap_max_seconds,
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
FROM merged
JOIN camera USING (plate, pipeline_version)
JOIN gap USING (plate, pipeline_version)

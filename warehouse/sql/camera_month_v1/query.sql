-- What a camera delivered in a month, merged from its days. Distinct plates do not add up over days,
-- so they are counted in plate_camera_day_v1.
WITH plate AS (
    SELECT camera_id, pipeline_version, count(DISTINCT plate) AS distinct_plates
    FROM plate_camera_day_v1
    WHERE day >= $period_start AND day < $period_end
    GROUP BY camera_id, pipeline_version
),
spaced AS (
    SELECT
        *,
        (
            epoch_us(first_seen) - lag(epoch_us(last_seen)) OVER (
                PARTITION BY camera_id, pipeline_version ORDER BY day
            )
        ) / 1e6 AS seconds_before
    FROM camera_day_v1
    WHERE day >= $period_start AND day < $period_end
),
merged AS (
    SELECT
        camera_id,
        pipeline_version,
        CAST(sum(images) AS BIGINT) AS images,
        CAST(sum(recognised) AS BIGINT) AS recognised,
        CAST(sum(no_plate) AS BIGINT) AS no_plate,
        CAST(sum(quarantined) AS BIGINT) AS quarantined,
        CAST(sum(plates) AS BIGINT) AS plates,
        CAST(sum(well_formed) AS BIGINT) AS well_formed,
        [
            sum(hours[1]), sum(hours[2]), sum(hours[3]), sum(hours[4]),
            sum(hours[5]), sum(hours[6]), sum(hours[7]), sum(hours[8]),
            sum(hours[9]), sum(hours[10]), sum(hours[11]), sum(hours[12]),
            sum(hours[13]), sum(hours[14]), sum(hours[15]), sum(hours[16]),
            sum(hours[17]), sum(hours[18]), sum(hours[19]), sum(hours[20]),
            sum(hours[21]), sum(hours[22]), sum(hours[23]), sum(hours[24])
        ] AS hours,
        CAST(sum(weekday_images) AS BIGINT) AS weekday_images,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        max(greatest(gap_max_seconds, seconds_before)) AS gap_max_seconds,
        CAST(sum(confidence_sum) AS DECIMAL(38, 6)) AS confidence_sum,
        CAST(sum(confidence_sum_sq) AS DECIMAL(38, 12)) AS confidence_sum_sq,
        min(confidence_min) AS confidence_min,
        max(confidence_max) AS confidence_max,
        [
            sum(confidence_histogram[1]), sum(confidence_histogram[2]),
            sum(confidence_histogram[3]), sum(confidence_histogram[4]),
            sum(confidence_histogram[5]), sum(confidence_histogram[6]),
            sum(confidence_histogram[7]), sum(confidence_histogram[8]),
            sum(confidence_histogram[9]), sum(confidence_histogram[10]),
            sum(confidence_histogram[11]), sum(confidence_histogram[12]),
            sum(confidence_histogram[13]), sum(confidence_histogram[14]),
            sum(confidence_histogram[15]), sum(confidence_histogram[16]),
            sum(confidence_histogram[17]), sum(confidence_histogram[18]),
            sum(confidence_histogram[19]), sum(confidence_histogram[20])
        ] AS confidence_histogram
    FROM spaced
    GROUP BY camera_id, pipeline_version
)
SELECT
    camera_id,
    CAST($period_start AS DATE) AS month,
    pipeline_version,
    images,
    recognised,
    no_plate,
    quarantined,
    plates,
    well_formed,
    coalesce(distinct_plates, 0) AS distinct_plates,
    CAST(well_formed AS DOUBLE) / nullif(plates, 0) AS well_formed_share,
    CAST(hours AS BIGINT[]) AS hours,
    weekday_images,
    CAST(weekday_images AS DOUBLE) / images AS weekday_share,
    first_seen,
    last_seen,
    gap_max_seconds,
    (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 / nullif(images - 1, 0)
        AS gap_mean_seconds,
    confidence_sum,
    confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(confidence_sum AS DOUBLE) / nullif(plates, 0) AS confidence_mean,
    -- Exact until the division, so that it is never below zero.
    CAST(plates * confidence_sum_sq - confidence_sum * confidence_sum AS DOUBLE)
        / nullif(CAST(plates AS DOUBLE) * plates, 0) AS confidence_variance,
    CAST(confidence_histogram AS BIGINT[]) AS confidence_histogram,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM merged
LEFT JOIN plate USING (camera_id, pipeline_version)

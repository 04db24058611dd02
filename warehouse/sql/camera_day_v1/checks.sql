-- What a camera delivered in a day, for the days that changed. `camera_day_v1_baseline` holds the 28
-- days before each of them. Warnings look at days that are over, of the served pipeline version.
-- docs/checks.md says what the numbers are, and why.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    CAST(NULL AS DOUBLE) AS value,
    min(concat_ws(' ', camera_id, day, pipeline_version)) AS detail
FROM (
    SELECT camera_id, day, pipeline_version FROM camera_day_v1
    GROUP BY camera_id, day, pipeline_version HAVING count(*) > 1
)
UNION ALL
SELECT
    'images_and_plates_of_facts',
    'block',
    CAST(abs(t.images - f.images) + abs(t.plates - f.plates) AS BIGINT),
    NULL,
    concat(t.images, ' images, ', t.plates, ' plates <> ', f.images, ' images, ', f.plates, ' plates')
FROM (
    SELECT coalesce(sum(images), 0) AS images, coalesce(sum(plates), 0) AS plates FROM camera_day_v1
) AS t
CROSS JOIN (
    SELECT
        count(*) AS images,
        (
            SELECT count(*) FROM (
                SELECT DISTINCT pipeline_version, camera_id, captured_at, image_id, plate_index
                FROM recognitions
            )
        ) AS plates
    FROM (SELECT DISTINCT pipeline_version, camera_id, captured_at, image_id FROM images)
) AS f
UNION ALL
SELECT 'statuses_add_up', 'block', count(*), NULL, min(concat_ws(' ', camera_id, day))
FROM camera_day_v1
WHERE images <> recognised + no_plate + quarantined
    OR plates < recognised OR well_formed > plates OR distinct_plates > well_formed
    OR (distinct_plates = 0) <> (well_formed = 0)
UNION ALL
SELECT
    'confidence_agrees',
    'block',
    count(*),
    NULL,
    min(concat_ws(' ', camera_id, day, confidence_mean))
FROM camera_day_v1
WHERE (plates = 0) <> (confidence_mean IS NULL)
    OR confidence_mean NOT BETWEEN confidence_min - 1e-6 AND confidence_max + 1e-6
    OR confidence_sum_sq > confidence_sum
UNION ALL
SELECT
    'period_and_times',
    'block',
    count(*),
    NULL,
    min(concat_ws(' ', camera_id, day, first_seen, last_seen))
FROM camera_day_v1
WHERE first_seen > last_seen
    OR first_seen < day::TIMESTAMP AT TIME ZONE 'UTC'
    OR last_seen >= event_timestamp
    OR event_timestamp <> (day + INTERVAL 1 DAY) AT TIME ZONE 'UTC'
UNION ALL
SELECT
    'histograms_add_up',
    'block',
    count(*),
    NULL,
    min(concat_ws(' ', camera_id, day, images, plates))
FROM camera_day_v1
WHERE len(hours) <> 24 OR list_sum(hours) <> images
    OR len(confidence_histogram) <> 20 OR list_sum(confidence_histogram) <> plates
    OR weekday_images NOT IN (0, images)
UNION ALL
SELECT
    'gaps_agree',
    'block',
    count(*),
    NULL,
    min(concat_ws(' ', camera_id, day, gap_max_seconds))
FROM camera_day_v1
WHERE (images = 1) <> (gap_max_seconds IS NULL) OR (images = 1) <> (gap_mean_seconds IS NULL)
    OR gap_mean_seconds > gap_max_seconds + 1e-6
    OR gap_max_seconds > (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 + 1e-6
UNION ALL
-- More than one in twenty of a camera's images cannot be used; of 20 images at least.
SELECT
    'quarantined_share',
    'warn',
    count(*) FILTER (WHERE share > 0.05),
    max(share),
    arg_max(format('{} on {}: {} of {} images', camera_id, day, quarantined, images), share)
FROM (
    SELECT *, quarantined / images AS share
    FROM camera_day_v1
    WHERE images >= 20 AND pipeline_version = $pipeline_version
)
UNION ALL
-- Less than half or more than twice the images of the same weekday: the mean of the last four, of
-- which two have to be there and 100 images on average.
SELECT
    'volume_of_same_weekdays',
    'warn',
    count(*) FILTER (WHERE ratio > 2),
    max(ratio),
    arg_max(format('{}: {} images, {:.0f} on such days before', day, images, expected), ratio)
FROM (
    SELECT *, greatest(images / expected, expected / images) AS ratio
    FROM (
        SELECT d.day, d.images, avg(b.images) AS expected
        FROM (
            SELECT day, sum(images) AS images FROM camera_day_v1
            WHERE pipeline_version = $pipeline_version AND event_timestamp <= $checked_at
            GROUP BY day
        ) AS d
        INNER JOIN (
            SELECT day, sum(images) AS images FROM camera_day_v1_baseline
            WHERE pipeline_version = $pipeline_version
            GROUP BY day
        ) AS b ON b.day IN (d.day - 7, d.day - 14, d.day - 21, d.day - 28)
        GROUP BY d.day, d.images
        HAVING count(*) >= 2 AND avg(b.images) >= 100
    )
)
UNION ALL
-- A camera without an image that had 100 a day on at least two of the last four such weekdays.
SELECT
    'cameras_gone_silent',
    'warn',
    count(*),
    NULL,
    min(format('{} on {}: no image, {:.0f} on such days before', camera_id, day, expected))
FROM (
    SELECT b.camera_id, d.day, avg(b.images) AS expected
    FROM (SELECT DISTINCT day FROM camera_day_v1 WHERE event_timestamp <= $checked_at) AS d
    INNER JOIN camera_day_v1_baseline AS b
        ON b.day IN (d.day - 7, d.day - 14, d.day - 21, d.day - 28)
        AND b.pipeline_version = $pipeline_version
    GROUP BY b.camera_id, d.day
    HAVING count(*) >= 2 AND avg(b.images) >= 100
) AS expected
ANTI JOIN camera_day_v1 USING (camera_id, day)
UNION ALL
-- The population stability index of a camera's confidences against its 28 days before: the sum over
-- the 20 bins of (p - q) * ln(p / q), an empty bin counting as 0.0001. 500 plates of the day and
-- 2,000 before it at least: with fewer, chance alone comes near 0.1.
SELECT
    drift.check_name,
    'warn',
    count(*) FILTER (WHERE psi >= drift.limit_),
    max(psi),
    arg_max(format('{} on {}: PSI {:.3f} over {} plates', camera_id, day, psi, plates), psi)
FROM (VALUES ('confidence_drift', 0.1), ('confidence_drift_strong', 0.25))
    AS drift (check_name, limit_)
LEFT JOIN (
    SELECT
        camera_id,
        day,
        plates,
        sum((p - q) * ln(p / q)) AS psi
    FROM (
        SELECT
            camera_id,
            day,
            plates,
            greatest(now / plates, 0.0001) AS p,
            greatest(before / sum(before) OVER (PARTITION BY camera_id, day), 0.0001) AS q,
            sum(before) OVER (PARTITION BY camera_id, day) AS plates_before
        FROM (
            SELECT
                d.camera_id,
                d.day,
                d.plates,
                d.bin,
                d.now,
                sum(b.confidence_histogram[d.bin]) AS before
            FROM (
                SELECT
                    camera_id,
                    day,
                    plates,
                    unnest(range(1, 21)) AS bin,
                    confidence_histogram[bin] AS now
                FROM camera_day_v1
                WHERE pipeline_version = $pipeline_version AND plates >= 500
            ) AS d
            INNER JOIN camera_day_v1_baseline AS b
                ON b.camera_id = d.camera_id AND b.pipeline_version = $pipeline_version
                AND b.day BETWEEN d.day - 28 AND d.day - 1
            GROUP BY d.camera_id, d.day, d.plates, d.bin, d.now
        )
    )
    WHERE plates_before >= 2000
    GROUP BY camera_id, day, plates
) AS measured ON true
GROUP BY drift.check_name

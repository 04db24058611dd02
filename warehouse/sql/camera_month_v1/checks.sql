-- What a camera delivered in a month, for the months that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', camera_id, month, pipeline_version)) AS detail
FROM (
    SELECT camera_id, month, pipeline_version FROM camera_month_v1
    GROUP BY camera_id, month, pipeline_version HAVING count(*) > 1
)
UNION ALL
SELECT
    'images_and_plates_of_camera_day_v1',
    'block',
    CAST(abs(t.images - f.images) + abs(t.plates - f.plates) AS BIGINT),
    concat(t.images, ' images, ', t.plates, ' plates <> ', f.images, ' images, ', f.plates, ' plates')
FROM (
    SELECT coalesce(sum(images), 0) AS images, coalesce(sum(plates), 0) AS plates FROM camera_month_v1
) AS t
CROSS JOIN (
    SELECT coalesce(sum(images), 0) AS images, coalesce(sum(plates), 0) AS plates FROM camera_day_v1
) AS f
UNION ALL
SELECT 'statuses_add_up', 'block', count(*), min(concat_ws(' ', camera_id, month))
FROM camera_month_v1
WHERE images <> recognised + no_plate + quarantined
    OR plates < recognised OR well_formed > plates OR distinct_plates > well_formed
    OR (distinct_plates = 0) <> (well_formed = 0)
UNION ALL
SELECT
    'confidence_agrees',
    'block',
    count(*),
    min(concat_ws(' ', camera_id, month, confidence_mean))
FROM camera_month_v1
WHERE (plates = 0) <> (confidence_mean IS NULL)
    OR confidence_mean NOT BETWEEN confidence_min - 1e-6 AND confidence_max + 1e-6
    OR confidence_sum_sq > confidence_sum
UNION ALL
SELECT
    'period_and_times',
    'block',
    count(*),
    min(concat_ws(' ', camera_id, month, first_seen, last_seen))
FROM camera_month_v1
WHERE first_seen > last_seen
    OR first_seen < month::TIMESTAMP AT TIME ZONE 'UTC'
    OR last_seen >= event_timestamp
    OR event_timestamp <> (month + INTERVAL 1 MONTH) AT TIME ZONE 'UTC' OR day(month) <> 1
UNION ALL
SELECT 'histograms_add_up', 'block', count(*), min(concat_ws(' ', camera_id, month, images))
FROM camera_month_v1
WHERE len(hours) <> 24 OR list_sum(hours) <> images
    OR len(confidence_histogram) <> 20 OR list_sum(confidence_histogram) <> plates
    OR weekday_images NOT BETWEEN 0 AND images
UNION ALL
SELECT 'gaps_agree', 'block', count(*), min(concat_ws(' ', camera_id, month, gap_max_seconds))
FROM camera_month_v1
WHERE (images = 1) <> (gap_max_seconds IS NULL) OR (images = 1) <> (gap_mean_seconds IS NULL)
    OR gap_mean_seconds > gap_max_seconds + 1e-6
    OR gap_max_seconds > (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 + 1e-6

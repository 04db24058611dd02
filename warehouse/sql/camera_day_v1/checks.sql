-- What a camera delivered in a day, for the days that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
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
SELECT 'statuses_add_up', 'block', count(*), min(concat_ws(' ', camera_id, day))
FROM camera_day_v1
WHERE images <> recognised + no_plate + quarantined
    OR plates < recognised OR well_formed > plates OR distinct_plates > well_formed
    OR (distinct_plates = 0) <> (well_formed = 0)
UNION ALL
SELECT 'confidence_agrees', 'block', count(*), min(concat_ws(' ', camera_id, day, confidence_mean))
FROM camera_day_v1
WHERE (plates = 0) <> (confidence_mean IS NULL)
    OR confidence_mean NOT BETWEEN confidence_min - 1e-6 AND confidence_max + 1e-6
    OR confidence_sum_sq > confidence_sum
UNION ALL
SELECT
    'period_and_times',
    'block',
    count(*),
    min(concat_ws(' ', camera_id, day, first_seen, last_seen))
FROM camera_day_v1
WHERE first_seen > last_seen
    OR first_seen < day::TIMESTAMP AT TIME ZONE 'UTC'
    OR last_seen >= event_timestamp
    OR event_timestamp <> (day + INTERVAL 1 DAY) AT TIME ZONE 'UTC'

-- The facts about plates, for the days that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', uri, plate_index, pipeline_version)) AS detail
FROM (
    SELECT uri, plate_index, pipeline_version FROM recognitions
    GROUP BY uri, plate_index, pipeline_version HAVING count(*) > 1
)
UNION ALL
-- Conservation: the plates that an image claims are the rows that it has.
SELECT
    'plates_of_images',
    'block',
    count(*),
    min(concat(uri, ': ', coalesce(i.plates, 0), ' claimed, ', coalesce(r.rows, 0), ' recorded'))
FROM (SELECT uri, pipeline_version, day, plates FROM images) AS i
FULL JOIN (
    SELECT uri, pipeline_version, day, count(*) AS rows
    FROM recognitions GROUP BY uri, pipeline_version, day
) AS r USING (uri, pipeline_version, day)
WHERE coalesce(i.plates, 0) <> coalesce(r.rows, 0)
UNION ALL
SELECT 'plates_numbered_from_0', 'block', count(*), min(uri)
FROM (
    SELECT uri
    FROM recognitions
    GROUP BY uri, pipeline_version
    HAVING min(plate_index) <> 0 OR max(plate_index) <> count(*) - 1
)
UNION ALL
SELECT 'same_image', 'block', count(*), min(r.uri)
FROM recognitions AS r
JOIN images AS i USING (uri, pipeline_version)
WHERE (r.image_id, r.camera_id, r.captured_at) <> (i.image_id, i.camera_id, i.captured_at)
UNION ALL
-- NaN is above every number, so that it is found here too.
SELECT 'confidence_0_to_1', 'block', count(*), min(concat_ws(' ', uri, confidence, detection_score))
FROM recognitions
WHERE confidence NOT BETWEEN 0 AND 1 OR detection_score NOT BETWEEN 0 AND 1
UNION ALL
SELECT 'box_has_an_area', 'warn', count(*), min(concat_ws(' ', uri, xmin, ymin, xmax, ymax))
FROM recognitions
WHERE xmin >= xmax OR ymin >= ymax OR NOT isfinite(xmin + xmax + ymin + ymax)
UNION ALL
SELECT 'day_of_captured_at', 'block', count(*), min(concat_ws(' ', uri, day, captured_at))
FROM recognitions
WHERE day <> CAST(captured_at AT TIME ZONE 'UTC' AS DATE)

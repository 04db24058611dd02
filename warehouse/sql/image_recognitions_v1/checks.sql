-- Rows by image, for the days that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', image_id, day, pipeline_version)) AS detail
FROM (
    SELECT image_id, day, pipeline_version FROM image_recognitions_v1
    GROUP BY image_id, day, pipeline_version HAVING count(*) > 1
)
UNION ALL
SELECT
    'copies_of_images',
    'block',
    CAST(abs(t.copies - f.images) AS BIGINT),
    concat(t.copies, ' <> ', f.images)
FROM (SELECT coalesce(sum(copies), 0) AS copies FROM image_recognitions_v1) AS t
CROSS JOIN (SELECT count(*) AS images FROM images) AS f
UNION ALL
SELECT 'lists_as_long_as_plates', 'block', count(*), min(image_id)
FROM image_recognitions_v1
WHERE NOT (
    len(texts) = plates
    AND len(raw_texts) = plates
    AND len(confidences) = plates
    AND len(detection_scores) = plates
    AND len(boxes) = 4 * plates
)

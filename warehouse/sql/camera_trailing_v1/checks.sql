-- Trailing windows of cameras, over the days that changed, as if there were no other day.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', camera_id, as_of, pipeline_version)) AS detail
FROM (
    -- Of one as_of there is a row for each time at which something new was known.
    SELECT camera_id, as_of, pipeline_version FROM camera_trailing_v1
    GROUP BY camera_id, as_of, pipeline_version, created_timestamp HAVING count(*) > 1
)
UNION ALL
SELECT 'windows_nested', 'block', count(*), min(concat_ws(' ', camera_id, as_of))
FROM camera_trailing_v1
WHERE images_7d > images_28d OR images_28d > images_90d
    OR quarantined_7d > images_7d
    OR days_seen_7d > 7 OR days_seen_28d > 28 OR days_seen_90d > 90
UNION ALL
-- The row of a day counts at least that day.
SELECT 'day_counted', 'block', count(*), min(concat_ws(' ', camera_id, d.day))
FROM camera_day_v1 AS d
JOIN (
    FROM camera_trailing_v1 QUALIFY row_number() OVER (
        PARTITION BY camera_id, as_of, pipeline_version ORDER BY created_timestamp DESC
    ) = 1
) AS t USING (camera_id, pipeline_version)
WHERE t.as_of = d.day AND t.images_7d < d.images

-- Trailing windows of plates, over a thousand plates of the days that changed, as if there were no
-- other day: what a view says follows from its SQL alone.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', plate, as_of, pipeline_version)) AS detail
FROM (
    -- Of one as_of there is a row for each time at which something new was known.
    SELECT plate, as_of, pipeline_version FROM plate_trailing_v1
    GROUP BY plate, as_of, pipeline_version, created_timestamp HAVING count(*) > 1
)
UNION ALL
SELECT 'windows_nested', 'block', count(*), min(concat_ws(' ', plate, as_of))
FROM plate_trailing_v1
WHERE sightings_7d > sightings_28d OR sightings_28d > sightings_90d
    OR days_seen_7d > sightings_7d
    OR days_seen_7d > 7 OR days_seen_28d > 28 OR days_seen_90d > 90
UNION ALL
-- The row of a day counts at least that day.
SELECT 'day_counted', 'block', count(*), min(concat_ws(' ', plate, d.day))
FROM plate_day_v1 AS d
JOIN (
    FROM plate_trailing_v1 QUALIFY row_number() OVER (
        PARTITION BY plate, as_of, pipeline_version ORDER BY created_timestamp DESC
    ) = 1
) AS t USING (plate, pipeline_version)
WHERE t.as_of = d.day AND t.sightings_7d < d.sightings

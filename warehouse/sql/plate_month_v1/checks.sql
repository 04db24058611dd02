-- Sightings by plate and month, for the months that changed.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', plate, month, pipeline_version)) AS detail
FROM (
    SELECT plate, month, pipeline_version FROM plate_month_v1
    GROUP BY plate, month, pipeline_version HAVING count(*) > 1
)
UNION ALL
SELECT
    'sightings_of_plate_day_v1',
    'block',
    count(*),
    min(concat_ws(' ', plate, t.sightings, f.sightings))
FROM (
    SELECT plate, pipeline_version, sum(sightings) AS sightings FROM plate_month_v1
    GROUP BY plate, pipeline_version
) AS t
FULL JOIN (
    SELECT plate, pipeline_version, sum(sightings) AS sightings FROM plate_day_v1
    GROUP BY plate, pipeline_version
) AS f USING (plate, pipeline_version)
WHERE t.sightings IS DISTINCT FROM f.sightings
UNION ALL
SELECT 'cameras_and_days', 'block', count(*), min(concat_ws(' ', plate, month, cameras, days_seen))
FROM plate_month_v1
WHERE cameras NOT BETWEEN 1 AND sightings
    OR days_seen NOT BETWEEN 1 AND date_diff('day', month, event_timestamp AT TIME ZONE 'UTC')
UNION ALL
SELECT 'confidence_agrees', 'block', count(*), min(concat_ws(' ', plate, month, confidence_mean))
FROM plate_month_v1
WHERE (sightings = 0) <> (confidence_mean IS NULL)
    OR confidence_mean NOT BETWEEN confidence_min - 1e-6 AND confidence_max + 1e-6
    OR confidence_sum_sq > confidence_sum
UNION ALL
SELECT
    'period_and_times',
    'block',
    count(*),
    min(concat_ws(' ', plate, month, first_seen, last_seen))
FROM plate_month_v1
WHERE first_seen > last_seen
    OR first_seen < month::TIMESTAMP AT TIME ZONE 'UTC'
    OR last_seen >= event_timestamp
    OR event_timestamp <> (month + INTERVAL 1 MONTH) AT TIME ZONE 'UTC' OR day(month) <> 1
UNION ALL
SELECT 'histograms_add_up', 'block', count(*), min(concat_ws(' ', plate, month, sightings))
FROM plate_month_v1
WHERE len(hours) <> 24 OR list_sum(hours) <> sightings
    OR weekday_sightings NOT BETWEEN 0 AND sightings
UNION ALL
SELECT 'gaps_agree', 'block', count(*), min(concat_ws(' ', plate, month, gap_max_seconds))
FROM plate_month_v1
WHERE (sightings = 1) <> (gap_max_seconds IS NULL) OR (sightings = 1) <> (gap_mean_seconds IS NULL)
    OR gap_mean_seconds > gap_max_seconds + 1e-6
    OR gap_max_seconds > (epoch_us(last_seen) - epoch_us(first_seen)) / 1e6 + 1e-6

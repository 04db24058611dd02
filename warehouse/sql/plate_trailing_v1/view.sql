-- Sightings of a plate in the 7, 28 and 90 days that end with a day, from its day tiles.
-- A row stands at each day on which a day enters a window (0) or leaves one (7, 28, 90 days later).
-- Over current rows alone, or with those that they replaced: a row for each time at which something
-- new was known. Of one as_of the newest created_timestamp is the truth. A replaced row of nulls is
-- a day that was taken back, and adds nothing.
WITH version AS (
    SELECT
        plate,
        pipeline_version,
        day,
        created_timestamp,
        sightings,
        days_seen,
        weekday_sightings,
        confidence_sum,
        last_seen,
        lead(created_timestamp) OVER (
            PARTITION BY plate, pipeline_version, day ORDER BY created_timestamp
        ) AS replaced_at
    FROM plate_day_v1
),
point AS (
    SELECT DISTINCT plate, pipeline_version, CAST(day + days AS DATE) AS as_of
    FROM plate_day_v1
    CROSS JOIN (VALUES (0), (7), (28), (90)) AS change (days)
),
step AS (
    SELECT DISTINCT
        p.plate,
        p.pipeline_version,
        p.as_of,
        greatest(v.created_timestamp, (p.as_of + 1)::TIMESTAMP AT TIME ZONE 'UTC') AS known_at
    FROM point AS p
    JOIN version AS v ON v.plate = p.plate AND v.pipeline_version = p.pipeline_version
        AND v.day BETWEEN p.as_of - 90 AND p.as_of
),
summed AS (
    SELECT
        s.plate,
        s.as_of,
        s.pipeline_version,
        s.known_at,
        sum(v.sightings) FILTER (WHERE v.day > s.as_of - 7) AS sightings_7d,
        sum(v.sightings) FILTER (WHERE v.day > s.as_of - 28) AS sightings_28d,
        sum(v.sightings) FILTER (WHERE v.day > s.as_of - 90) AS sightings_90d,
        sum(v.days_seen) FILTER (WHERE v.day > s.as_of - 7) AS days_seen_7d,
        sum(v.days_seen) FILTER (WHERE v.day > s.as_of - 28) AS days_seen_28d,
        sum(v.days_seen) FILTER (WHERE v.day > s.as_of - 90) AS days_seen_90d,
        sum(v.weekday_sightings) FILTER (WHERE v.day > s.as_of - 7) AS weekday_sightings_7d,
        sum(v.weekday_sightings) FILTER (WHERE v.day > s.as_of - 28) AS weekday_sightings_28d,
        sum(v.weekday_sightings) FILTER (WHERE v.day > s.as_of - 90) AS weekday_sightings_90d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 7) AS confidence_sum_7d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 28) AS confidence_sum_28d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 90) AS confidence_sum_90d,
        max(v.last_seen) FILTER (WHERE v.day > s.as_of - 7) AS last_seen_7d,
        max(v.last_seen) FILTER (WHERE v.day > s.as_of - 28) AS last_seen_28d,
        max(v.last_seen) FILTER (WHERE v.day > s.as_of - 90) AS last_seen_90d
    FROM step AS s
    LEFT JOIN version AS v ON v.plate = s.plate AND v.pipeline_version = s.pipeline_version
        AND v.day BETWEEN s.as_of - 89 AND s.as_of
        AND v.created_timestamp <= s.known_at
        AND (v.replaced_at IS NULL OR v.replaced_at > s.known_at)
    GROUP BY s.plate, s.as_of, s.pipeline_version, s.known_at
)
SELECT
    plate,
    as_of,
    pipeline_version,
    CAST(coalesce(sightings_7d, 0) AS BIGINT) AS sightings_7d,
    CAST(coalesce(sightings_28d, 0) AS BIGINT) AS sightings_28d,
    CAST(coalesce(sightings_90d, 0) AS BIGINT) AS sightings_90d,
    CAST(coalesce(days_seen_7d, 0) AS BIGINT) AS days_seen_7d,
    CAST(coalesce(days_seen_28d, 0) AS BIGINT) AS days_seen_28d,
    CAST(coalesce(days_seen_90d, 0) AS BIGINT) AS days_seen_90d,
    CAST(weekday_sightings_7d AS DOUBLE)
        / nullif(CAST(sightings_7d AS BIGINT), 0) AS weekday_share_7d,
    CAST(weekday_sightings_28d AS DOUBLE)
        / nullif(CAST(sightings_28d AS BIGINT), 0) AS weekday_share_28d,
    CAST(weekday_sightings_90d AS DOUBLE)
        / nullif(CAST(sightings_90d AS BIGINT), 0) AS weekday_share_90d,
    CAST(confidence_sum_7d AS DOUBLE)
        / nullif(CAST(sightings_7d AS BIGINT), 0) AS confidence_mean_7d,
    CAST(confidence_sum_28d AS DOUBLE)
        / nullif(CAST(sightings_28d AS BIGINT), 0) AS confidence_mean_28d,
    CAST(confidence_sum_90d AS DOUBLE)
        / nullif(CAST(sightings_90d AS BIGINT), 0) AS confidence_mean_90d,
    last_seen_7d,
    last_seen_28d,
    last_seen_90d,
    (as_of + 1)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    known_at AS created_timestamp
FROM summed

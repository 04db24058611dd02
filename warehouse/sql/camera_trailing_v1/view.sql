-- What a camera delivered in the 7, 28 and 90 days that end with a day, from its day tiles.
-- A row stands at each day on which a day enters a window (0) or leaves one (7, 28, 90 days later).
-- Over current rows alone, or with those that they replaced: a row for each time at which something
-- new was known. Of one as_of the newest created_timestamp is the truth. A replaced row of nulls is
-- a day that was taken back, and adds nothing.
WITH version AS (
    SELECT
        camera_id,
        pipeline_version,
        day,
        created_timestamp,
        images,
        quarantined,
        plates,
        well_formed,
        confidence_sum,
        lead(created_timestamp) OVER (
            PARTITION BY camera_id, pipeline_version, day ORDER BY created_timestamp
        ) AS replaced_at
    FROM camera_day_v1
),
point AS (
    SELECT DISTINCT camera_id, pipeline_version, CAST(day + days AS DATE) AS as_of
    FROM camera_day_v1
    CROSS JOIN (VALUES (0), (7), (28), (90)) AS change (days)
),
step AS (
    SELECT DISTINCT
        p.camera_id,
        p.pipeline_version,
        p.as_of,
        greatest(v.created_timestamp, (p.as_of + 1)::TIMESTAMP AT TIME ZONE 'UTC') AS known_at
    FROM point AS p
    JOIN version AS v ON v.camera_id = p.camera_id AND v.pipeline_version = p.pipeline_version
        AND v.day BETWEEN p.as_of - 90 AND p.as_of
),
summed AS (
    SELECT
        s.camera_id,
        s.as_of,
        s.pipeline_version,
        s.known_at,
        sum(v.images) FILTER (WHERE v.day > s.as_of - 7) AS images_7d,
        sum(v.images) FILTER (WHERE v.day > s.as_of - 28) AS images_28d,
        sum(v.images) FILTER (WHERE v.day > s.as_of - 90) AS images_90d,
        sum(v.quarantined) FILTER (WHERE v.day > s.as_of - 7) AS quarantined_7d,
        sum(v.quarantined) FILTER (WHERE v.day > s.as_of - 28) AS quarantined_28d,
        sum(v.quarantined) FILTER (WHERE v.day > s.as_of - 90) AS quarantined_90d,
        sum(v.plates) FILTER (WHERE v.day > s.as_of - 7) AS plates_7d,
        sum(v.plates) FILTER (WHERE v.day > s.as_of - 28) AS plates_28d,
        sum(v.plates) FILTER (WHERE v.day > s.as_of - 90) AS plates_90d,
        count(v.images) FILTER (WHERE v.day > s.as_of - 7) AS days_seen_7d,
        count(v.images) FILTER (WHERE v.day > s.as_of - 28) AS days_seen_28d,
        count(v.images) FILTER (WHERE v.day > s.as_of - 90) AS days_seen_90d,
        sum(v.well_formed) FILTER (WHERE v.day > s.as_of - 7) AS well_formed_7d,
        sum(v.well_formed) FILTER (WHERE v.day > s.as_of - 28) AS well_formed_28d,
        sum(v.well_formed) FILTER (WHERE v.day > s.as_of - 90) AS well_formed_90d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 7) AS confidence_sum_7d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 28) AS confidence_sum_28d,
        sum(v.confidence_sum) FILTER (WHERE v.day > s.as_of - 90) AS confidence_sum_90d
    FROM step AS s
    LEFT JOIN version AS v ON v.camera_id = s.camera_id AND v.pipeline_version = s.pipeline_version
        AND v.day BETWEEN s.as_of - 89 AND s.as_of
        AND v.created_timestamp <= s.known_at
        AND (v.replaced_at IS NULL OR v.replaced_at > s.known_at)
    GROUP BY s.camera_id, s.as_of, s.pipeline_version, s.known_at
)
SELECT
    camera_id,
    as_of,
    pipeline_version,
    CAST(coalesce(images_7d, 0) AS BIGINT) AS images_7d,
    CAST(coalesce(images_28d, 0) AS BIGINT) AS images_28d,
    CAST(coalesce(images_90d, 0) AS BIGINT) AS images_90d,
    CAST(coalesce(quarantined_7d, 0) AS BIGINT) AS quarantined_7d,
    CAST(coalesce(quarantined_28d, 0) AS BIGINT) AS quarantined_28d,
    CAST(coalesce(quarantined_90d, 0) AS BIGINT) AS quarantined_90d,
    CAST(coalesce(plates_7d, 0) AS BIGINT) AS plates_7d,
    CAST(coalesce(plates_28d, 0) AS BIGINT) AS plates_28d,
    CAST(coalesce(plates_90d, 0) AS BIGINT) AS plates_90d,
    CAST(coalesce(days_seen_7d, 0) AS BIGINT) AS days_seen_7d,
    CAST(coalesce(days_seen_28d, 0) AS BIGINT) AS days_seen_28d,
    CAST(coalesce(days_seen_90d, 0) AS BIGINT) AS days_seen_90d,
    CAST(quarantined_7d AS DOUBLE)
        / nullif(CAST(images_7d AS BIGINT), 0) AS quarantined_share_7d,
    CAST(quarantined_28d AS DOUBLE)
        / nullif(CAST(images_28d AS BIGINT), 0) AS quarantined_share_28d,
    CAST(quarantined_90d AS DOUBLE)
        / nullif(CAST(images_90d AS BIGINT), 0) AS quarantined_share_90d,
    CAST(well_formed_7d AS DOUBLE)
        / nullif(CAST(plates_7d AS BIGINT), 0) AS well_formed_share_7d,
    CAST(well_formed_28d AS DOUBLE)
        / nullif(CAST(plates_28d AS BIGINT), 0) AS well_formed_share_28d,
    CAST(well_formed_90d AS DOUBLE)
        / nullif(CAST(plates_90d AS BIGINT), 0) AS well_formed_share_90d,
    CAST(confidence_sum_7d AS DOUBLE)
        / nullif(CAST(plates_7d AS BIGINT), 0) AS confidence_mean_7d,
    CAST(confidence_sum_28d AS DOUBLE)
        / nullif(CAST(plates_28d AS BIGINT), 0) AS confidence_mean_28d,
    CAST(confidence_sum_90d AS DOUBLE)
        / nullif(CAST(plates_90d AS BIGINT), 0) AS confidence_mean_90d,
    (as_of + 1)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    known_at AS created_timestamp
FROM summed

-- What a camera delivered on a day: its images by status, and the plates on them.
-- A photo that is archived under two names counts once, by the better of its two results.
WITH photo AS (
    SELECT camera_id, pipeline_version, captured_at, status
    FROM images
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id
        ORDER BY CASE status WHEN 'recognised' THEN 0 WHEN 'no_plate' THEN 1 ELSE 2 END, uri
    ) = 1
),
sighting AS (
    SELECT
        plate,
        camera_id,
        pipeline_version,
        confidence,
        -- A decimal adds up exactly, whatever the order.
        CAST(confidence AS DECIMAL(7, 6)) AS exact
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY pipeline_version, camera_id, captured_at, image_id, plate_index ORDER BY uri
    ) = 1
),
taken AS (
    SELECT
        camera_id,
        pipeline_version,
        count(*) AS images,
        count(*) FILTER (WHERE status = 'recognised') AS recognised,
        count(*) FILTER (WHERE status = 'no_plate') AS no_plate,
        count(*) FILTER (WHERE status = 'quarantined') AS quarantined,
        min(captured_at) AS first_seen,
        max(captured_at) AS last_seen
    FROM photo
    GROUP BY camera_id, pipeline_version
),
read AS (
    SELECT
        camera_id,
        pipeline_version,
        count(*) AS plates,
        count(*) FILTER (WHERE plate <> '') AS well_formed,
        count(DISTINCT plate) FILTER (WHERE plate <> '') AS distinct_plates,
        sum(exact) AS confidence_sum,
        sum(exact * exact) AS confidence_sum_sq,
        min(confidence) AS confidence_min,
        max(confidence) AS confidence_max
    FROM sighting
    GROUP BY camera_id, pipeline_version
)
SELECT
    camera_id,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    images,
    recognised,
    no_plate,
    quarantined,
    coalesce(plates, 0) AS plates,
    coalesce(well_formed, 0) AS well_formed,
    coalesce(distinct_plates, 0) AS distinct_plates,
    first_seen,
    last_seen,
    CAST(coalesce(confidence_sum, 0) AS DECIMAL(38, 6)) AS confidence_sum,
    CAST(coalesce(confidence_sum_sq, 0) AS DECIMAL(38, 12)) AS confidence_sum_sq,
    confidence_min,
    confidence_max,
    CAST(confidence_sum AS DOUBLE) / plates AS confidence_mean,
    CAST($period_end AS DATE)::TIMESTAMP AT TIME ZONE 'UTC' AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM taken
LEFT JOIN read USING (camera_id, pipeline_version)

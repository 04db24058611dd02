-- Everything that was read from an image, in one row, for lookups by image. An image is its
-- bytes: of several names on one day the earliest photo speaks, by the best of the results.
WITH photo AS (
    SELECT
        uri,
        image_id,
        pipeline_version,
        camera_id,
        captured_at,
        status,
        reason,
        plates,
        count(*) OVER (PARTITION BY image_id, pipeline_version) AS copies
    FROM images
    WHERE day >= $period_start AND day < $period_end
    QUALIFY row_number() OVER (
        PARTITION BY image_id, pipeline_version
        ORDER BY
            CASE status WHEN 'recognised' THEN 0 WHEN 'no_plate' THEN 1 ELSE 2 END,
            captured_at,
            uri
    ) = 1
),
read AS (
    SELECT
        uri,
        pipeline_version,
        list(plate ORDER BY plate_index) AS texts,
        list(raw_text ORDER BY plate_index) AS raw_texts,
        list(confidence ORDER BY plate_index) AS confidences,
        list(detection_score ORDER BY plate_index) AS detection_scores,
        flatten(list([xmin, ymin, xmax, ymax] ORDER BY plate_index)) AS boxes
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    GROUP BY uri, pipeline_version
)
SELECT
    image_id,
    CAST($period_start AS DATE) AS day,
    pipeline_version,
    camera_id,
    captured_at,
    status,
    reason,
    CAST(plates AS BIGINT) AS plates,
    coalesce(texts, CAST([] AS VARCHAR[])) AS texts,
    coalesce(raw_texts, CAST([] AS VARCHAR[])) AS raw_texts,
    coalesce(confidences, CAST([] AS FLOAT[])) AS confidences,
    coalesce(detection_scores, CAST([] AS FLOAT[])) AS detection_scores,
    coalesce(boxes, CAST([] AS FLOAT[])) AS boxes,
    copies,
    captured_at AS event_timestamp,
    CAST($created_timestamp AS TIMESTAMPTZ) AS created_timestamp
FROM photo
LEFT JOIN read USING (uri, pipeline_version)

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
gathered AS (
    SELECT
        uri,
        pipeline_version,
        -- Sorted by its first field. An ordered aggregate for each list takes twice as long.
        list_sort(list({
            'plate_index': plate_index,
            'plate': plate,
            'raw_text': raw_text,
            'confidence': confidence,
            'detection_score': detection_score,
            'box': [xmin, ymin, xmax, ymax]
        })) AS seen
    FROM recognitions
    WHERE day >= $period_start AND day < $period_end
    GROUP BY uri, pipeline_version
),
read AS (
    SELECT
        uri,
        pipeline_version,
        [p.plate FOR p IN seen] AS texts,
        [p.raw_text FOR p IN seen] AS raw_texts,
        [p.confidence FOR p IN seen] AS confidences,
        [p.detection_score FOR p IN seen] AS detection_scores,
        flatten([p.box FOR p IN seen]) AS boxes
    FROM gathered
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

-- The photos with the least confident plates: a row a plate, the least confident photo first.
WITH worst AS (
    SELECT r.uri, min(r.confidence) AS least
    FROM recognitions AS r SEMI JOIN planned USING (uri)
    WHERE r.pipeline_version = $pipeline_version
    GROUP BY r.uri
    ORDER BY least, r.uri
    LIMIT $photos
)
SELECT r.uri, r.image_id, r.camera_id, r.captured_at, r.plate, r.raw_text, r.confidence,
       r.xmin, r.ymin, r.xmax, r.ymax, p.byte_size, p.offset,
       i.width, i.height
FROM worst AS w
JOIN recognitions AS r ON r.uri = w.uri AND r.pipeline_version = $pipeline_version
JOIN planned AS p ON p.uri = w.uri
LEFT JOIN images AS i ON i.uri = w.uri AND i.pipeline_version = $pipeline_version
ORDER BY w.least, w.uri, r.confidence, r.plate_index

-- Plates of the planned images by confidence: a row a bin that has any, the last bin closed.
SELECT least(floor(r.confidence * $bins), $bins - 1)::INTEGER AS bin,
       count(*) AS plates,
       count(*) FILTER (WHERE r.plate <> '') AS well_formed
FROM recognitions AS r SEMI JOIN planned USING (uri)
WHERE r.pipeline_version = $pipeline_version
GROUP BY bin
ORDER BY bin

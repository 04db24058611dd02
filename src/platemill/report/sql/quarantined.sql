-- Planned images that could not be used, by reason, with some examples.
SELECT i.reason,
       min(i.stage) AS stage,
       count(*) AS images,
       array_slice(list({'uri': i.uri, 'detail': i.detail} ORDER BY i.uri), 1, $examples) AS examples
FROM images AS i SEMI JOIN planned USING (uri)
WHERE i.pipeline_version = $pipeline_version AND i.status = 'quarantined'
GROUP BY i.reason
ORDER BY images DESC, i.reason

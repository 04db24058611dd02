-- What became of the planned images, by day.
SELECT i.day,
       count(*) FILTER (WHERE i.status = 'recognised') AS recognised,
       count(*) FILTER (WHERE i.status = 'no_plate') AS no_plate,
       count(*) FILTER (WHERE i.status = 'quarantined') AS quarantined,
       sum(i.plates)::BIGINT AS plates
FROM images AS i SEMI JOIN planned USING (uri)
WHERE i.pipeline_version = $pipeline_version
GROUP BY i.day
ORDER BY i.day

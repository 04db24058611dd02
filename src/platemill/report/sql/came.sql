-- Images of the plan by day and by camera: how many, how large, and what was known of them.
-- planned: the plan. before: the generation that it was made against, of the days where rows of
-- the planned images can be.
WITH known AS (
    SELECT p.uri,
           bool_or(b.image_id = p.image_id AND b.camera_id = p.camera_id
                   AND b.captured_at = p.captured_at) AS same
    FROM planned AS p JOIN before AS b USING (uri)
    GROUP BY p.uri
)
SELECT p.day,
       p.camera_id,
       count(*) AS images,
       sum(p.byte_size)::BIGINT AS bytes,
       count(*) FILTER (WHERE k.uri IS NULL) AS new,
       count(*) FILTER (WHERE NOT k.same) AS changed,
       count(*) FILTER (WHERE k.same) AS again
FROM planned AS p LEFT JOIN known AS k USING (uri)
GROUP BY GROUPING SETS ((p.day), (p.camera_id))
ORDER BY p.day, images DESC, p.camera_id

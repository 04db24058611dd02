-- The facts about images, for the days that changed. A row a check: how many rows break it, and one
-- of them. The tables beside `images`: `inventory`, what this run found in the archives on the days
-- that it planned or changed, deleted images too; `told`, the generation's images of these days;
-- `suspects`, what the generation holds, on any day, of images that were not on their day before.
SELECT
    'keys_unique' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(concat_ws(' ', uri, pipeline_version)) AS detail
FROM (
    SELECT uri, pipeline_version FROM images
    GROUP BY uri, pipeline_version HAVING count(*) > 1
)
UNION ALL
-- Conservation: an image that is there has one of the three statuses, on its day.
SELECT 'every_image_recorded', 'block', count(*), min(i.uri)
FROM inventory AS i
ANTI JOIN (SELECT uri, day FROM told WHERE pipeline_version = $pipeline_version) AS r
    ON r.uri = i.uri AND r.day = i.day
WHERE i.deleted_at IS NULL
UNION ALL
-- A mark stands where the archive says so, and nowhere else.
SELECT 'deleted_as_in_the_archive', 'block', count(*), min(i.uri)
FROM inventory AS i
INNER JOIN told AS r ON r.uri = i.uri AND r.day = i.day
WHERE (i.deleted_at IS NULL) <> (r.deleted_at IS NULL)
UNION ALL
SELECT
    'conservation_of_days',
    'block',
    count(*),
    min(concat(d.day, ': inventory ', d.found, ', recognised + no_plate + quarantined ', d.told))
FROM (
    SELECT
        i.day,
        count(*) AS found,
        count(*) FILTER (WHERE s.status IN ('recognised', 'no_plate', 'quarantined')) AS told
    FROM inventory AS i
    LEFT JOIN (SELECT uri, day, status FROM images WHERE pipeline_version = $pipeline_version) AS s
        ON s.uri = i.uri AND s.day = i.day
    WHERE i.day IN (SELECT day FROM images) AND i.deleted_at IS NULL
    GROUP BY i.day
) AS d
WHERE d.found <> d.told
UNION ALL
SELECT 'status_known', 'block', count(*), min(concat_ws(' ', uri, status))
FROM images
WHERE status NOT IN ('recognised', 'no_plate', 'quarantined')
UNION ALL
SELECT 'status_agrees_with_plates', 'block', count(*), min(concat_ws(' ', uri, status, plates))
FROM images
WHERE (status = 'recognised') <> (plates > 0) OR plates < 0
UNION ALL
SELECT 'quarantined_with_a_reason', 'block', count(*), min(concat_ws(' ', uri, reason))
FROM images
WHERE (status = 'quarantined') <> (coalesce(reason, '') <> '')
UNION ALL
SELECT 'day_of_captured_at', 'block', count(*), min(concat_ws(' ', uri, day, captured_at))
FROM images
WHERE day <> CAST(captured_at AT TIME ZONE 'UTC' AS DATE);
-- Over all days at once: an image that moved to another day has left the day on which it was. Hashes
-- are compared first: of a hundred million names they need a tenth of the memory.
SELECT
    'keys_unique_over_days' AS check_name,
    'block' AS severity,
    count(*) AS failed,
    min(uri) AS detail
FROM (
    SELECT uri FROM suspects
    WHERE hash(uri, pipeline_version) IN (
        SELECT mark FROM (SELECT hash(uri, pipeline_version) AS mark FROM suspects)
        GROUP BY mark HAVING count(*) > 1
    )
    GROUP BY uri, pipeline_version HAVING count(*) > 1
)

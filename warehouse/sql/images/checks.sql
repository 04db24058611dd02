-- The facts about images, for the days that changed. A row a check: how many rows break it, and one
-- of them. The tables beside `images`: `recorded`, uri, day and pipeline_version of every image of
-- the generation; `inventory`, what this run found in the archives.
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
SELECT 'keys_unique_over_days', 'block', count(*), min(uri)
FROM (
    SELECT uri FROM recorded GROUP BY uri, pipeline_version HAVING count(*) > 1
)
UNION ALL
-- Conservation: an image that was found has one of the three statuses, on its day.
SELECT 'every_image_recorded', 'block', count(*), min(i.uri)
FROM inventory AS i
ANTI JOIN (SELECT uri, day FROM recorded WHERE pipeline_version = $pipeline_version) AS r
    ON r.uri = i.uri AND r.day = i.day
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
    WHERE i.day IN (SELECT day FROM images)
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
WHERE day <> CAST(captured_at AT TIME ZONE 'UTC' AS DATE)
UNION ALL
SELECT
    'quarantined_share',
    'block',
    count(*),
    min(concat(
        q.day, ': ', q.quarantined, ' of ', q.images, ' new images quarantined, most for ', q.reason,
        '; max_quarantined_share allows ', $max_quarantined_share
    ))
FROM (
    SELECT
        day,
        count(*) AS images,
        count(*) FILTER (WHERE status = 'quarantined') AS quarantined,
        mode(reason) AS reason
    FROM images
    WHERE run_id = $run_id AND pipeline_version = $pipeline_version
    GROUP BY day
) AS q
WHERE q.quarantined > $max_quarantined_share * q.images

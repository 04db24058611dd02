-- Images of the plan on some days by some cameras.
SELECT day, camera_id, count(*) AS images
FROM planned
WHERE list_contains($days::DATE[], day) AND list_contains($cameras::VARCHAR[], camera_id)
GROUP BY ALL

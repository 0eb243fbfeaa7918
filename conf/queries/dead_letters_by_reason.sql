-- Rejected rows by reason, replayed ones included; a row with two reasons counts twice.
SELECT input_source, stage, reason, COUNT(*) dead_letters, MAX(ingested_at) latest
FROM dead_letter
CROSS JOIN UNNEST(reasons) AS t(reason)
GROUP BY input_source, stage, reason
ORDER BY dead_letters DESC, input_source, stage, reason

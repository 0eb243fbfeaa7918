-- The newest row of each way in, and its age in seconds (times are UTC).
SELECT input_source, MAX(order_ts) newest_order, MAX(ingested_at) newest_row,
       date_diff('second', MAX(ingested_at), CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp)) age_seconds
FROM clean
GROUP BY input_source
ORDER BY input_source DESC

-- Orders and average ticket by hour of the day (UTC).
SELECT hour(order_ts) order_hour, COUNT(*) orders, AVG(amount) avg_ticket_size
FROM clean
GROUP BY hour(order_ts)
ORDER BY order_hour

-- Orders, revenue and average ticket of each way in.
SELECT input_source, COUNT(*) total_orders, SUM(amount) revenue, AVG(amount) avg_ticket_size
FROM clean
GROUP BY input_source
ORDER BY input_source DESC

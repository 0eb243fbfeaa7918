-- The twenty items that bring in most.
SELECT item, SUM(quantity) sold, COUNT(*) orders, SUM(amount) revenue
FROM clean
GROUP BY item
ORDER BY revenue DESC, item
LIMIT 20

-- Orders and revenue of each city and day, newest day first.
SELECT order_date, city, COUNT(*) orders, SUM(amount) revenue
FROM clean
GROUP BY order_date, city
ORDER BY order_date DESC, revenue DESC, city

-- Operators have been told of these: an alert that they have closed is not raised again.

INSERT INTO foreign_orders (order_id, noticed_at)
SELECT order_id, max(received_at) FROM webhook_events WHERE outcome = 'not_ours' AND order_id <> '' GROUP BY order_id
ON CONFLICT (order_id) DO NOTHING;

-- Orders whose payment went back were handed out again: nobody can pay them.

UPDATE payment_orders o SET superseded_at = now()
FROM bookings b, payments p, refunds r
WHERE o.superseded_at IS NULL AND b.id = o.booking_id AND b.status = 'pending'
  AND p.order_id = o.order_id AND p.kind = 'capture' AND r.payment_id = p.payment_id;

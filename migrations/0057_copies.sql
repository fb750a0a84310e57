-- A copy of a database holds orders and sales of the installation that it was copied from, and may use the same account at Razorpay: whoever gives
-- the copy an id of its own says by that whose they are. So each order and booking remembers which installation has made it.

-- As a default it serves whoever inserts: previous releases, and the trigger that follows the Node service. It does not change within a statement, so
-- that the rows that exist get the present id without being written.
-- Whoever may insert may do so, whatever else they may read, and wherever they look for tables.
CREATE FUNCTION installation_id() RETURNS UUID STABLE LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS 'SELECT id FROM installation';

ALTER TABLE payment_orders ADD COLUMN installation UUID NOT NULL DEFAULT installation_id();
ALTER TABLE bookings ADD COLUMN installation UUID NOT NULL DEFAULT installation_id();

-- Orders on which this installation takes and returns money.
CREATE VIEW own_orders AS
SELECT * FROM payment_orders WHERE installation = (SELECT id FROM installation);

-- Payments in our books that are another installation's. What the Node service has sold may have no order here: then its booking tells.
CREATE VIEW copied_payments AS
SELECT p.payment_id, coalesce(o.installation, b.installation) AS installation
FROM payments p LEFT JOIN payment_orders o ON o.order_id = p.order_id LEFT JOIN bookings b ON b.id = p.booking_id
WHERE p.kind = 'capture' AND coalesce(o.installation, b.installation) <> (SELECT id FROM installation);

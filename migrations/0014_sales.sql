-- Two triggers no longer run for a sale whose process has done their work itself.
-- Locks: nobody can write to payment_orders and bookings, for milliseconds.

-- For an order that comes without the time at which the reconciler is to ask for it.
CREATE OR REPLACE TRIGGER payment_orders_plan_look BEFORE INSERT ON payment_orders
    FOR EACH ROW WHEN (NEW.look_at IS NULL) EXECUTE FUNCTION payment_orders_plan_look();

-- Sessions of Nexus, which set this for themselves, record an order before they put it into its
-- booking.
CREATE OR REPLACE TRIGGER bookings_remember_order AFTER UPDATE OF payment_id ON bookings
    FOR EACH ROW WHEN (
        NEW.payment_id LIKE 'order\_%' AND NEW.total_amount > 0
        AND current_setting('nexus.records_orders', TRUE) IS DISTINCT FROM 'on'
    )
    EXECUTE FUNCTION bookings_remember_order();

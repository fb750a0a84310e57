-- A buyer is told of money that goes back, also when the booking has gone with its event: its orders then say whose it was.

-- Set when the booking is deleted; until then the booking says it. No foreign key, as an order outlives both.
ALTER TABLE payment_orders ADD COLUMN user_id INTEGER;

CREATE FUNCTION bookings_leave_buyer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- By payment_orders_booking: a booking has a few orders at most.
    UPDATE payment_orders SET user_id = OLD.user_id WHERE booking_id = OLD.id;
    RETURN OLD;
END $$;
CREATE TRIGGER bookings_leave_buyer BEFORE DELETE ON bookings
    FOR EACH ROW EXECUTE FUNCTION bookings_leave_buyer();

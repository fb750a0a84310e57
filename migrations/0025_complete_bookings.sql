-- Since when a pending booking has all its seats until its deadline, which is now: the Node service gave seats to two bookings (0007), and a seat
-- could be given back while it was being booked. Serves: the check of the books.
DO $$
BEGIN
    EXECUTE format('CREATE FUNCTION bookings_complete_since() RETURNS TIMESTAMPTZ LANGUAGE sql IMMUTABLE AS %L',
                   format('SELECT %L::timestamptz', now()));
END $$;

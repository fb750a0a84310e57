-- Every event that exists gets a share code, but for those that end before they start.
--
-- Locks: the row of every event, for as long as it takes to write them all. Bookings and locks of
-- seats do not wait for that, nor does anybody who reads; who changes an event does.
UPDATE events SET share_code = gen_random_uuid()
WHERE share_code IS NULL AND end_date >= start_date;
ALTER TABLE events VALIDATE CONSTRAINT events_have_share_code;

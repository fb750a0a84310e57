-- Serves: whoever wants a seat of a type and frees a few of its locks that have run out, and the count of those in seat_availability; both read
-- the locks of all events, or all seats of the type, where many have run out or been sold.
CREATE INDEX seats_type_expiring ON seats (event_seat_type_id, expires_at) WHERE status = 'locked';

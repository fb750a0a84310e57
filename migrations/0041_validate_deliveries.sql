-- Rule: the checks of 0036_time_zones and 0039_ticket_signatures hold for every row.
--
-- Locks: nobody; all events, notices and tickets are read.
ALTER TABLE events VALIDATE CONSTRAINT events_time_zone_check;
ALTER TABLE cancellation_notices VALIDATE CONSTRAINT cancellation_notices_time_zone_check;
ALTER TABLE tickets VALIDATE CONSTRAINT tickets_qr_signature_check;

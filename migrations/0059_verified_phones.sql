-- SMS about bookings go only to numbers that a one-time password has proved: anybody can register with somebody else's. The Node service did not write down
-- which were proved, so those that are here already count as proved now: their owners have had SMS until now, some of them nothing else (docs/authorisation.md).
--
-- A default that is constant for the rows that are there, and then none for new ones: nothing is rewritten. Processes of the previous release leave new numbers
-- unproved; the next one-time password proves them.

ALTER TABLE users ADD COLUMN phone_verified_at TIMESTAMPTZ DEFAULT now();
ALTER TABLE users ALTER COLUMN phone_verified_at DROP DEFAULT;

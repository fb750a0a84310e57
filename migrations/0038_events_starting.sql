-- Locks: who creates, changes or deletes an event waits for a second with 100,000 of them.

-- Serves: the search for events of which buyers are to be reminded.
CREATE INDEX events_starting ON events (start_date) WHERE status = 'published';

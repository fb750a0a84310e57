-- An organiser cancels an event: every booking is cancelled and refunded, a batch at a time, by a job that can be interrupted anywhere.

CREATE TABLE event_cancellations (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- No booking and no lock is left. Refunds may still be under way.
    finished_at TIMESTAMPTZ
);

-- Tells what the event's cancellation did from what buyers had cancelled before: it is counted, and cannot be undone.
ALTER TABLE bookings ADD COLUMN cancelled_with_event BOOLEAN NOT NULL DEFAULT FALSE;

-- Serves: how far the refunds of an event are, and what a buyer is told of a cancelled booking.
CREATE INDEX refunds_of_booking ON refunds (booking_id);

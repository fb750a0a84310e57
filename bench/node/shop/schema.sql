-- The tables of the shop in Node: as few, and as few indexes, as the measurements need.

CREATE TABLE users (
    id SERIAL PRIMARY KEY,
    name TEXT,
    email TEXT UNIQUE,
    phone TEXT,
    password TEXT
);

CREATE TABLE events (
    id SERIAL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    start_date TIMESTAMPTZ NOT NULL,
    end_date TIMESTAMPTZ NOT NULL,
    image_url TEXT,
    location TEXT NOT NULL,
    venue_name TEXT,
    organizer_id INTEGER NOT NULL REFERENCES users (id),
    status TEXT NOT NULL DEFAULT 'published',
    is_public BOOLEAN NOT NULL DEFAULT TRUE,
    max_tickets_per_user INTEGER NOT NULL DEFAULT 10,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ON events (created_at);

CREATE TABLE event_seat_types (
    id SERIAL PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id),
    name TEXT NOT NULL,
    price NUMERIC(10, 2) NOT NULL,
    quantity INTEGER NOT NULL,
    available_quantity INTEGER NOT NULL CHECK (available_quantity BETWEEN 0 AND quantity)
);
CREATE INDEX ON event_seat_types (event_id);

CREATE TABLE bookings (
    id SERIAL PRIMARY KEY,
    booking_reference TEXT NOT NULL UNIQUE,
    event_id INTEGER NOT NULL REFERENCES events (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    total_amount NUMERIC(10, 2) NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    payment_status TEXT NOT NULL DEFAULT 'pending',
    order_id TEXT UNIQUE,
    payment_id TEXT,
    booked_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    confirmed_at TIMESTAMPTZ,
    -- Whether the tickets have been mailed.
    is_delivered BOOLEAN NOT NULL DEFAULT FALSE,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX ON bookings (user_id, booked_at DESC);
CREATE INDEX ON bookings (confirmed_at) WHERE status = 'confirmed' AND NOT is_delivered;

-- A seat has a row while it is locked or booked.
CREATE TABLE seats (
    id SERIAL PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id),
    event_seat_type_id INTEGER NOT NULL REFERENCES event_seat_types (id),
    seat_label TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id),
    booking_id INTEGER REFERENCES bookings (id),
    status TEXT NOT NULL DEFAULT 'locked',
    locked_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ,
    UNIQUE (event_seat_type_id, seat_label)
);
CREATE INDEX ON seats (event_id, user_id);
CREATE INDEX ON seats (booking_id);

CREATE TABLE payments (
    payment_id TEXT PRIMARY KEY,
    booking_id INTEGER NOT NULL REFERENCES bookings (id),
    order_id TEXT NOT NULL,
    amount_paise BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE webhook_events (
    event_id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    processed_at TIMESTAMPTZ
);
CREATE INDEX ON webhook_events (received_at) WHERE processed_at IS NULL;

CREATE TABLE tickets (
    id SERIAL PRIMARY KEY,
    booking_id INTEGER NOT NULL REFERENCES bookings (id),
    seat_id INTEGER NOT NULL REFERENCES seats (id) UNIQUE,
    ticket_id TEXT NOT NULL UNIQUE,
    qr_code TEXT NOT NULL,
    email_sent BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX ON tickets (booking_id);

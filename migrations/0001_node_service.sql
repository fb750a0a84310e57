-- The tables of the Node service, which Nexus takes over. A database of that service has them
-- already, and then this file changes nothing. The Node service fixes their names and their types:
-- it may go on working with them, beside Nexus, during the cut-over.

CREATE TABLE IF NOT EXISTS users (
    id SERIAL PRIMARY KEY,
    -- Rules: a username, an e-mail address and a phone number are of one account each. They serve
    -- logins.
    username VARCHAR(50) UNIQUE,
    name VARCHAR(150),
    email VARCHAR(255) UNIQUE,
    phone VARCHAR(20) UNIQUE,
    password VARCHAR(255),
    address TEXT,
    city VARCHAR(100),
    state VARCHAR(100),
    zip VARCHAR(20),
    country VARCHAR(100),
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS refresh_tokens (
    id SERIAL PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token TEXT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    is_revoked BOOLEAN DEFAULT FALSE,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
-- Serves: refreshing a session and logging out, which look for the token.
CREATE INDEX IF NOT EXISTS refresh_tokens_token_idx ON refresh_tokens (token);
-- Serves: ending or counting the sessions of a user.
CREATE INDEX IF NOT EXISTS refresh_tokens_user_id_idx ON refresh_tokens (user_id);

CREATE TABLE IF NOT EXISTS blacklisted_tokens (
    id SERIAL PRIMARY KEY,
    -- Rule: a token is revoked once. Serves: "is this token revoked?", at every request.
    token TEXT NOT NULL UNIQUE,
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS events (
    id SERIAL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT NOT NULL,
    start_date TIMESTAMPTZ NOT NULL,
    end_date TIMESTAMPTZ NOT NULL,
    image_url TEXT,
    location VARCHAR(255) NOT NULL,
    venue_name VARCHAR(255),
    organizer_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    status VARCHAR(20) NOT NULL DEFAULT 'published',
    is_public BOOLEAN NOT NULL DEFAULT TRUE,
    max_tickets_per_user INTEGER DEFAULT 10,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
-- Serves: the list of events, which begins with the oldest.
CREATE INDEX IF NOT EXISTS events_created_at_idx ON events (created_at);
-- Serves: the events of an organiser, and the deletion of an account.
CREATE INDEX IF NOT EXISTS events_organizer_id_idx ON events (organizer_id);

CREATE TABLE IF NOT EXISTS event_seat_types (
    id SERIAL PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    name VARCHAR(100) NOT NULL,
    description TEXT,
    price NUMERIC(10, 2) NOT NULL,
    quantity INTEGER NOT NULL,
    available_quantity INTEGER NOT NULL,
    display_order INTEGER DEFAULT 0,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
-- Serves: the seat types of an event.
CREATE INDEX IF NOT EXISTS event_seat_types_event_id_idx ON event_seat_types (event_id);

-- Seats are virtual: a row exists only while its seat is locked or booked.
CREATE TABLE IF NOT EXISTS seats (
    id SERIAL PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    event_seat_type_id INTEGER NOT NULL REFERENCES event_seat_types (id) ON DELETE CASCADE,
    seat_label VARCHAR(20) NOT NULL,
    user_id INTEGER REFERENCES users (id) ON DELETE SET NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'locked',
    locked_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ,
    booked_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS bookings (
    id SERIAL PRIMARY KEY,
    -- Rule: a reference is of one booking. Serves: the search for it, for Razorpay's receipts too.
    booking_reference VARCHAR(50) NOT NULL UNIQUE,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    total_amount NUMERIC(10, 2) NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'pending',
    payment_status VARCHAR(20) NOT NULL DEFAULT 'pending',
    -- The Node service keeps its newest order here (order_…), until the payment (pay_…) takes its
    -- place.
    payment_id VARCHAR(255),
    payment_gateway VARCHAR(50),
    booked_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    confirmed_at TIMESTAMPTZ,
    cancelled_at TIMESTAMPTZ,
    cancellation_reason TEXT,
    expires_at TIMESTAMPTZ
);
-- Serves: the bookings of an event, when it is cancelled or deleted.
CREATE INDEX IF NOT EXISTS bookings_event_id_idx ON bookings (event_id);
-- Serves: the search for the booking that a payment is for, where only the Node service knows it.
CREATE INDEX IF NOT EXISTS bookings_payment_id_idx ON bookings (payment_id);

CREATE TABLE IF NOT EXISTS booking_seats (
    id SERIAL PRIMARY KEY,
    booking_id INTEGER NOT NULL REFERENCES bookings (id) ON DELETE CASCADE,
    seat_id INTEGER NOT NULL REFERENCES seats (id) ON DELETE CASCADE,
    price_paid NUMERIC(10, 2) NOT NULL,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    -- Rule: a booking has a seat once. Serves: the seats of a booking.
    UNIQUE (booking_id, seat_id)
);

CREATE TABLE IF NOT EXISTS idempotency_keys (
    id SERIAL PRIMARY KEY,
    -- Rule: a key is used once. Serves: cancellations that are sent again.
    idempotency_key VARCHAR(255) NOT NULL UNIQUE,
    operation_type VARCHAR(50) NOT NULL,
    resource_id INTEGER,
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
    status VARCHAR(20) NOT NULL DEFAULT 'pending',
    response_data JSONB,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    completed_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE IF NOT EXISTS tickets (
    id SERIAL PRIMARY KEY,
    booking_id INTEGER NOT NULL REFERENCES bookings (id) ON DELETE CASCADE,
    seat_id INTEGER REFERENCES seats (id) ON DELETE CASCADE,
    -- Rule: a ticket's id is printed on one ticket.
    ticket_id VARCHAR(100) NOT NULL UNIQUE,
    seat_label VARCHAR(20) NOT NULL,
    seat_type_name VARCHAR(100),
    price_paid NUMERIC(10, 2) NOT NULL,
    qr_code TEXT,
    status VARCHAR(20) NOT NULL DEFAULT 'pending',
    email_sent BOOLEAN DEFAULT FALSE,
    sms_sent BOOLEAN DEFAULT FALSE,
    generated_at TIMESTAMPTZ,
    delivered_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);

-- Several installations may use one account at Razorpay, and one may be restored from a backup: whose an order is must not be guessed.

CREATE TABLE installation (
    -- There is one row.
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    -- Noted with every order at Razorpay. A database that was made anew has another.
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    -- Since when no refund is asked for, until an operator says so. NULL: refunds are asked for.
    refunds_held_at TIMESTAMPTZ,
    -- Payments that were begun before have been looked at. In books that were restored from a backup it is as old as they are.
    looked_at TIMESTAMPTZ
);
INSERT INTO installation DEFAULT VALUES;

-- Whether orders for the booking carry the installation's id. Those that exist, and those of the Node service, count by their receipt alone.
ALTER TABLE bookings ADD COLUMN orders_are_marked BOOLEAN NOT NULL DEFAULT FALSE;

-- Orders at Razorpay that were paid and are not in our books: Razorpay is asked once whose they are, operators are told once.
CREATE TABLE foreign_orders (
    order_id TEXT PRIMARY KEY,
    -- The installation that its notes name; NULL when they name none.
    installation TEXT,
    noticed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Serves: whether operators have been told of an installation.
CREATE INDEX foreign_orders_of_installation ON foreign_orders (installation) WHERE installation IS NOT NULL;
-- Serves: removing the oldest.
CREATE INDEX foreign_orders_by_age ON foreign_orders (noticed_at);

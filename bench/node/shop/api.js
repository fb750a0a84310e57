// A ticket shop in Node, with the wire of Nexus: Express, Socket.IO, pg, ioredis, BullMQ. It does what
// the measurements need and keeps the same promises: a seat is locked and booked once (PostgreSQL
// decides), a webhook is stored before it is answered. It is written to be fast: prepared statements,
// one statement where one is enough, tokens that are verified once.

import { argon2, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { promisify } from "node:util";

import express from "express";
import { Server } from "socket.io";

import { db, queue, redis, transaction } from "./connections.js";

const { JWT_SECRET, RAZORPAY_API_URL, RAZORPAY_KEY_ID, RAZORPAY_KEY_SECRET, RAZORPAY_WEBHOOK_SECRET } = process.env;
const LOCK_MS = 10 * 60_000;
const BOOKING_MINUTES = 15;

class Refusal extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

// --- Tokens: HS256, as Nexus signs them -------------------------------------------------------------

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const signature = (text) => createHmac("sha256", JWT_SECRET).update(text).digest();

const issued = (user, type, seconds) => {
    const iat = Math.floor(Date.now() / 1000);
    const text = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded({ userId: user, type, iat, exp: iat + seconds })}`;
    return `${text}.${signature(text).toString("base64url")}`;
};

/** Tokens whose signatures have been checked. */
const verified = new Map();

const userOf = (token) => {
    let claims = verified.get(token);
    if (!claims) {
        const [head, body, signed] = (token ?? "").split(".");
        const given = Buffer.from(signed ?? "", "base64url");
        const made = signature(`${head}.${body}`);
        if (given.length !== made.length || !timingSafeEqual(given, made)) throw new Refusal(401, "Invalid or expired access token");
        claims = JSON.parse(Buffer.from(body, "base64url"));
        if (verified.size > 100_000) verified.clear();
        verified.set(token, claims);
    }
    if (claims.exp * 1000 <= Date.now()) throw new Refusal(401, "Invalid or expired access token");
    return claims.userId;
};

// --- The shop ---------------------------------------------------------------------------------------

const query = async (name, text, values) => (await db.query({ name, text, values })).rows;

const OVERVIEW = `SELECT e.*, u.name AS organizer_name, s.total_seats, s.available_seats, s.total_seats - s.available_seats AS booked_seats
    FROM events e JOIN users u ON u.id = e.organizer_id
    CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS total_seats, coalesce(sum(available_quantity), 0) AS available_seats
                        FROM event_seat_types WHERE event_id = e.id) s`;

const event = async (id) => {
    const [found] = await query("event", `${OVERVIEW} WHERE e.id = $1 AND e.status = 'published' AND e.is_public`, [id]);
    if (!found) throw new Refusal(404, "Event not found");
    const share = found.total_seats ? (found.booked_seats * 100) / found.total_seats : 0;
    return { ...found, occupancy_rate: share.toFixed(2) };
};

const events = (limit, offset) =>
    query("events", `${OVERVIEW} WHERE e.status = 'published' AND e.is_public ORDER BY e.created_at, e.id LIMIT $1 OFFSET $2`, [limit, offset]);

const published = () => query("published", "SELECT count(*) AS total FROM events WHERE status = 'published' AND is_public", []);

const createEvent = (user, body) =>
    transaction(async (client) => {
        const { rows } = await client.query(
            `INSERT INTO events (name, description, location, max_tickets_per_user, start_date, end_date, organizer_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *`,
            [body.name, body.description, body.location, body.max_tickets_per_user ?? 10, body.start_date, body.end_date, user],
        );
        const types = await client.query(
            `INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity)
             SELECT $1, name, price, quantity, quantity FROM jsonb_to_recordset($2) AS t (name TEXT, price NUMERIC, quantity INTEGER) RETURNING *`,
            [rows[0].id, JSON.stringify(body.seat_types)],
        );
        return { event: rows[0], seat_types: types.rows };
    });

// One statement: the count and the seat change together or not at all. An expired lock gives way.
const LOCK = `WITH wanted AS (
        SELECT t.id FROM event_seat_types t JOIN events e ON e.id = t.event_id
        WHERE t.id = $2 AND e.id = $1 AND e.status = 'published' AND e.start_date > now()
          AND (SELECT count(*) FROM seats WHERE event_id = $1 AND user_id = $4 AND (status = 'booked' OR expires_at > now())) < e.max_tickets_per_user
    ), locked AS (
        INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, expires_at)
        SELECT $1, wanted.id, $3, $4, now() + $5 * interval '1 millisecond' FROM wanted
        ON CONFLICT (event_seat_type_id, seat_label) DO UPDATE
            SET user_id = excluded.user_id, locked_at = now(), expires_at = excluded.expires_at, booking_id = NULL
            WHERE seats.status = 'locked' AND seats.expires_at <= now()
        RETURNING *, xmax = 0 AS is_new
    ), counted AS (
        UPDATE event_seat_types t SET available_quantity = available_quantity - locked.is_new::integer
        FROM locked WHERE t.id = locked.event_seat_type_id RETURNING t.available_quantity
    )
    SELECT locked.*, counted.available_quantity FROM locked, counted`;

const lockSeat = async (user, { event_id, seat_type_id, seat_label }) => {
    const key = `seat_lock:${event_id}:${seat_type_id}:${seat_label}`;
    if (!(await redis.set(key, user, "PX", LOCK_MS, "NX"))) throw new Refusal(409, `Seat ${seat_label} is already locked or booked`);
    let seat;
    try {
        [seat] = await query("lock", LOCK, [event_id, seat_type_id, seat_label, user, LOCK_MS]);
        if (!seat) throw new Refusal(409, `Seat ${seat_label} is already locked or booked`);
    } catch (error) {
        await redis.del(key);
        throw error;
    }
    const { available_quantity, is_new, booking_id, ...lock } = seat;
    seatsChanged(event_id);
    return { event_id, seat_type_id, seat_label, user_id: user, available_quantity, lock };
};

/** The response to a lock, made of what others are told of it. */
const lockedSeat = ({ seat_label, lock }) => ({
    lock, message: `Seat ${seat_label} locked successfully. Lock expires in 10 minutes.`, expires_in_seconds: LOCK_MS / 1000, cache_hit: true,
});

const reference = () => `BKG-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}-${randomBytes(5).toString("hex").toUpperCase()}`;

const BOOK = `WITH mine AS (
        SELECT s.id, t.price, s.seat_label, t.id AS seat_type_id, t.name AS seat_type_name
        FROM unnest($3::integer[], $4::text[]) AS wanted (seat_type, label)
        JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
        JOIN event_seat_types t ON t.id = s.event_seat_type_id
        WHERE s.event_id = $1 AND s.user_id = $2 AND s.status = 'locked' AND s.booking_id IS NULL AND s.expires_at > now()
        ORDER BY s.id FOR UPDATE OF s
    ), booking AS (
        INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, expires_at)
        SELECT $5, $1, $2, sum(price), now() + ${BOOKING_MINUTES} * interval '1 minute' FROM mine HAVING count(*) = cardinality($3::integer[])
        RETURNING *
    ), linked AS (
        UPDATE seats SET booking_id = booking.id, expires_at = booking.expires_at FROM booking, mine WHERE seats.id = mine.id
    )
    SELECT booking.*, (SELECT json_agg(mine) FROM mine) AS seats FROM booking`;

const createBooking = async (user, { event_id, seat_details }) => {
    const types = seat_details.map((seat) => seat.seat_type_id);
    const labels = seat_details.map((seat) => seat.seat_label);
    const [[found], [event]] = await Promise.all([
        query("book", BOOK, [event_id, user, types, labels, reference()]),
        query("booked event", "SELECT id, name, description, start_date, end_date, location, venue_name, image_url FROM events WHERE id = $1", [event_id]),
    ]);
    if (!found) throw new Refusal(400, "Some seats are not locked by you");
    const { seats, order_id, payment_id, confirmed_at, is_delivered, ...booking } = found;
    io.emit("booking_created", { event_id, booking_reference: booking.booking_reference, status: booking.status });
    return { booking, event, seats, total_seats: seats.length, payment_required: true };
};

const myBookings = async (user, limit, offset) => {
    const found = await query(
        "my bookings",
        `SELECT b.*, json_build_object('id', e.id, 'name', e.name, 'start_date', e.start_date, 'location', e.location) AS event,
                (SELECT coalesce(json_agg(json_build_object('seat_id', s.id, 'seat_label', s.seat_label)), '[]') FROM seats s WHERE s.booking_id = b.id) AS seats,
                count(*) OVER () AS total
         FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.user_id = $1 ORDER BY b.booked_at DESC LIMIT $2 OFFSET $3`,
        [user, limit, offset],
    );
    const total = found[0]?.total ?? 0;
    return { data: found, pagination: { total, limit, offset, has_more: offset + found.length < total } };
};

const createOrder = async (user, { booking_id, amount }) => {
    const [booking] = await query(
        "payable",
        "SELECT * FROM bookings WHERE id = $1 AND user_id = $2 AND status = 'pending' AND expires_at > now()",
        [booking_id, user],
    );
    if (!booking || booking.total_amount !== amount) throw new Refusal(400, "This booking cannot be paid");
    const response = await fetch(`${RAZORPAY_API_URL}/v1/orders`, {
        method: "POST",
        headers: {
            "content-type": "application/json",
            authorization: `Basic ${Buffer.from(`${RAZORPAY_KEY_ID}:${RAZORPAY_KEY_SECRET}`).toString("base64")}`,
        },
        body: JSON.stringify({ amount: amount * 100, currency: "INR", receipt: booking.booking_reference, notes: { booking_id: `${booking_id}` } }),
    });
    const order = await response.json();
    if (!response.ok) throw new Refusal(502, "The payment provider did not answer");
    await query("ordered", "UPDATE bookings SET order_id = $2 WHERE id = $1", [booking_id, order.id]);
    return { order_id: order.id, amount: order.amount, currency: order.currency, receipt: order.receipt, key_id: RAZORPAY_KEY_ID };
};

const payment = async (user, order) => {
    const [found] = await query(
        "payment",
        `SELECT order_id, id AS booking_id, booking_reference, status, payment_status, status = 'confirmed' AS is_confirmed
         FROM bookings WHERE order_id = $1 AND user_id = $2`,
        [order, user],
    );
    if (!found) throw new Refusal(404, "Order not found");
    return found;
};

const webhooks = queue("webhooks");

const receiveWebhook = async (body, headers) => {
    const given = Buffer.from(headers["x-razorpay-signature"] ?? "", "hex");
    const made = createHmac("sha256", RAZORPAY_WEBHOOK_SECRET).update(body).digest();
    if (given.length !== made.length || !timingSafeEqual(given, made)) throw new Refusal(400, "Invalid signature");
    const id = headers["x-razorpay-event-id"];
    // Enqueued even if it was stored before: the process may have died between the two. A job of the
    // same id is not enqueued twice.
    await query("webhook", "INSERT INTO webhook_events (event_id, body) VALUES ($1, $2) ON CONFLICT DO NOTHING", [id, body.toString()]);
    await webhooks.add("settle", { id }, { jobId: id });
};

const hashed = promisify(argon2);

/** Argon2id in the form that Nexus stores, compared with the same parameters. */
const login = async ({ email, password }) => {
    const [user] = await query("login", "SELECT id, name, email, phone, password FROM users WHERE email = $1", [email]);
    const [, , , , salt, hash] = (user?.password ?? "").split("$");
    const stored = Buffer.from(hash ?? "", "base64");
    const made = await hashed("argon2id", {
        message: password, nonce: Buffer.from(salt ?? "AAAAAAAAAAAAAAAAAAAAAA", "base64"), memory: 19 * 1024, passes: 2, parallelism: 1, tagLength: 32,
    });
    if (stored.length !== made.length || !timingSafeEqual(stored, made)) throw new Refusal(401, "Invalid email or password");
    const { password: _, ...shown } = user;
    return { user: shown, accessToken: issued(user.id, "access", 1_800), refreshToken: issued(user.id, "refresh", 604_800), message: "Login successful" };
};

// --- HTTP -------------------------------------------------------------------------------------------

const app = express().disable("x-powered-by");
const routes = express.Router();
const text = express.raw({ type: () => true });
const json = express.json();
const who = (request) => userOf(request.headers.authorization?.slice("Bearer ".length));
const page = ({ query: { limit = 10, offset = 0 } }) => [Math.min(Number(limit), 100), Number(offset)];

routes.get("/events", async (request, response) => {
    const [limit, offset] = page(request);
    const [data, [{ total }]] = await Promise.all([events(limit, offset), published()]);
    response.json({ data, pagination: { total, limit, offset, has_more: offset + data.length < total } });
});
routes.get("/events/:id", async (request, response) => response.json({ data: await event(request.params.id) }));
routes.post("/events/create", json, async (request, response) => response.json({ data: await createEvent(who(request), request.body) }));
routes.post("/seats/:event/seat-types/:type/lock", json, async (request, response) => {
    const wanted = { event_id: Number(request.params.event), seat_type_id: Number(request.params.type), seat_label: request.body.seat_label };
    const locked = await lockSeat(who(request), wanted);
    io.emit("seat_locked", locked);
    response.json({ data: lockedSeat(locked) });
});
routes.post("/bookings/create", json, async (request, response) =>
    response.json({ success: true, data: await createBooking(who(request), request.body) }),
);
routes.get("/bookings/my-bookings", async (request, response) =>
    response.json({ success: true, ...(await myBookings(who(request), ...page(request))) }),
);
routes.post("/payments/create-order", json, async (request, response) =>
    response.json({ success: true, data: await createOrder(who(request), request.body) }),
);
routes.get("/payments/verify/:order", async (request, response) =>
    response.json({ success: true, data: await payment(who(request), request.params.order) }),
);
routes.post("/payments/webhook", text, async (request, response) => {
    await receiveWebhook(request.body, request.headers);
    response.json({ success: true });
});
routes.post("/auth/login", json, async (request, response) => response.json({ data: await login(request.body) }));

app.use("/api/v1", routes);
app.get("/ready", (_, response) => response.json({ status: "ready" }));
app.use((error, _request, response, _next) => {
    const status = error.status ?? 500;
    if (status === 500) console.error(error);
    response.status(status).json({ error: { message: status === 500 ? "Internal server error" : error.message } });
});

// --- Socket.IO --------------------------------------------------------------------------------------

const server = createServer(app);
const io = new Server(server, { perMessageDeflate: false });

io.use((socket, next) => {
    try {
        const { token } = socket.handshake.auth;
        // Without a token, a socket only listens.
        socket.data.user = token === undefined ? null : userOf(token);
        next();
    } catch (error) {
        next(error);
    }
});
io.on("connection", (socket) => {
    socket.on("lock_seat", async ({ eventId, seatTypeId, seat_label }) => {
        try {
            if (socket.data.user === null) throw new Refusal(401, "Authentication required");
            const locked = await lockSeat(socket.data.user, { event_id: eventId, seat_type_id: seatTypeId, seat_label });
            socket.broadcast.emit("seat_locked", locked);
            socket.emit("lock_seat_response", { success: true, data: lockedSeat(locked) });
        } catch (error) {
            socket.emit("lock_seat_response", { success: false, error: error.status ? error.message : "Internal server error" });
        }
    });
});

/** Events whose counts clients are about to hear. */
const changed = new Set();

const seatsChanged = (event) => {
    if (changed.has(event)) return;
    changed.add(event);
    setTimeout(async () => {
        changed.delete(event);
        const seat_types = await query("counts", "SELECT id AS seat_type_id, quantity, available_quantity FROM event_seat_types WHERE event_id = $1", [event]);
        io.emit("event:seats-update", { event_id: event, seat_types });
    }, 100);
};

server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));

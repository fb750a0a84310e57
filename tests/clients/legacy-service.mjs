// What the Node service does with PostgreSQL and Redis, in the format and the order that Nexus has
// to live with (docs/contract.md#existing-data). The first line on standard input is its
// environment; every further one is `{id, command, ...arguments}`. Commands run concurrently; each
// answers with `{type: "answer", id, data}` or `{type: "answer", id, error}`.
import { createInterface } from "node:readline";
import bcrypt from "bcrypt";
import { Redis } from "ioredis";
import jwt from "jsonwebtoken";
import pg from "pg";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const env = JSON.parse((await lines.next()).value);
const db = new pg.Pool({ connectionString: env.DATABASE_URL, max: 10 });
const redis = new Redis(env.REDIS_URL);
// A command that needs them fails anyway.
for (const server of [db, redis]) server.on("error", () => {});

const LOCK = Number(env.SEAT_LOCK_SECONDS ?? 600) * 1000;
const BOOKING = Number(env.BOOKING_SECONDS ?? 900) * 1000;
const WEEK = 7 * 24 * 60 * 60 * 1000;
const NOT_LOCKED = "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";

const rows = async (query, ...values) => (await db.query(query, values)).rows;

async function transaction(work) {
  const client = await db.connect();
  try {
    await client.query("BEGIN");
    const result = await work(async (query, ...values) => (await client.query(query, values)).rows);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

const sign = (userId, type, secret, expiresIn) => jwt.sign({ userId, type }, secret, { expiresIn });
const seatKey = (eventId, seatTypeId, label) => `seat_lock:${eventId}:${seatTypeId}:${label}`;
// As long as the token would have been valid.
const blacklist = (token) => redis.set(`blacklist:${token}`, "true", "EX", jwt.decode(token).exp - Math.floor(Date.now() / 1000));

// Gives back seats that `deleted` has removed, as the old service counts them.
async function restore(query, deleted) {
  for (const { event_seat_type_id } of deleted)
    await query("UPDATE event_seat_types SET available_quantity = available_quantity + 1 WHERE id = $1", event_seat_type_id);
}

const commands = {
  async register({ name, email, phone, password }) {
    const hash = password && (await bcrypt.hash(password, 10));
    const insert = "INSERT INTO users (name, email, phone, password) VALUES ($1, $2, $3, $4) RETURNING id";
    return (await rows(insert, name, email, phone, hash))[0].id;
  },

  async login({ userId }) {
    const accessToken = sign(userId, "access", env.JWT_SECRET, "30m");
    const refreshToken = sign(userId, "refresh", env.JWT_REFRESH_SECRET, "7d");
    await rows(
      "INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES ($1, $2, $3)",
      userId,
      refreshToken,
      new Date(Date.now() + WEEK),
    );
    await redis.set(`refresh_token:${refreshToken}`, userId, "PX", WEEK);
    return { accessToken, refreshToken };
  },

  async authenticate({ token }) {
    if (await redis.exists(`blacklist:${token}`)) throw new Error("Token has been revoked");
    return jwt.verify(token, env.JWT_SECRET).userId;
  },

  async refresh({ refreshToken }) {
    if (await redis.exists(`blacklist:${refreshToken}`)) throw new Error("Refresh token has been revoked");
    const { userId } = jwt.verify(refreshToken, env.JWT_REFRESH_SECRET);
    if (!(await redis.exists(`refresh_token:${refreshToken}`))) throw new Error("Refresh token not found or has been revoked");
    return sign(userId, "access", env.JWT_SECRET, "30m");
  },

  async logout({ userId, accessToken, refreshToken }) {
    for (const token of [accessToken, refreshToken]) {
      await blacklist(token);
      await rows(
        "INSERT INTO blacklisted_tokens (token, user_id, expires_at) VALUES ($1, $2, $3)",
        token,
        userId,
        new Date(jwt.decode(token).exp * 1000),
      );
    }
    await rows("UPDATE refresh_tokens SET is_revoked = TRUE WHERE token = $1", refreshToken);
    await redis.del(`refresh_token:${refreshToken}`);
  },

  async createEvent({ organizerId, name, seatTypes, status = "published", maxTickets = 10 }) {
    const insert = `INSERT INTO events (name, description, start_date, end_date, location, organizer_id, status, max_tickets_per_user)
                    VALUES ($1, 'Two sets under one roof.', '2099-05-01T18:00Z', '2099-05-01T22:00Z', 'Mumbai', $2, $3, $4) RETURNING id`;
    const [{ id }] = await rows(insert, name, organizerId, status, maxTickets);
    const ids = [];
    for (const [order, [seatType, price, quantity]] of seatTypes.entries()) {
      const insert = `INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity, display_order)
                      VALUES ($1, $2, $3, $4, $4, $5) RETURNING id`;
      ids.push((await rows(insert, id, seatType, price, quantity, order + 1))[0].id);
    }
    return { event: { id }, seat_types: seatTypes.map(([name], n) => ({ id: ids[n], name })) };
  },

  // Counts booked seats and forgets locked ones (docs/contract.md#change-5).
  async updateQuantity({ seatTypeId, quantity }) {
    const update = `UPDATE event_seat_types t SET quantity = $2::integer, available_quantity = greatest(0, $2::integer - (
                        SELECT count(*)::integer FROM seats WHERE event_seat_type_id = t.id AND status = 'booked')) WHERE id = $1`;
    await rows(update, seatTypeId, quantity);
  },

  // Redis first, then the row, under the installation's constraint against a second one if it has
  // one, then the count.
  async lock({ userId, eventId, seatTypeId, label }) {
    const lockedAt = new Date();
    const expiresAt = new Date(lockedAt.getTime() + LOCK);
    const key = seatKey(eventId, seatTypeId, label);
    const value = JSON.stringify({ userId, lockedAt, expiresAt, seatLabel: label, eventId, seatTypeId });
    const taken = new Error(`Seat ${label} is already taken. Please select another seat.`);
    if (!(await redis.set(key, value, "PX", LOCK, "NX"))) throw taken;
    try {
      return await transaction(async (query) => {
        const insert = `INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
                        VALUES ($1, $2, $3, $4, 'locked', $5, $6) ON CONFLICT DO NOTHING RETURNING id`;
        const [seat] = await query(insert, eventId, seatTypeId, label, userId, lockedAt, expiresAt);
        if (!seat) throw taken;
        const count = `UPDATE event_seat_types SET available_quantity = available_quantity - 1
                       WHERE id = $1 AND available_quantity > 0 RETURNING available_quantity`;
        if (!(await query(count, seatTypeId)).length) throw new Error("No seats available for this seat type");
        return seat.id;
      });
    } catch (error) {
      await redis.del(key);
      throw error;
    }
  },

  // A booking lives for 15 minutes; its seats keep the 10 of their locks.
  book: ({ userId, eventId, seatTypeId, labels }) =>
    transaction(async (query) => {
      const find = `SELECT s.id, t.price FROM seats s JOIN event_seat_types t ON t.id = s.event_seat_type_id
                    WHERE s.event_seat_type_id = $1 AND s.seat_label = ANY ($2) AND s.user_id = $3 AND s.status = 'locked' AND s.expires_at > now()
                      AND NOT EXISTS (SELECT 1 FROM booking_seats bs WHERE bs.seat_id = s.id) FOR UPDATE OF s`;
      const seats = await query(find, seatTypeId, labels, userId);
      if (seats.length < labels.length) throw new Error(NOT_LOCKED);
      const total = seats.reduce((sum, seat) => sum + Number(seat.price), 0);
      const insert = `INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, expires_at)
                      VALUES ('BKG-2026-1123-' || lpad($1::text, 6, '0') || '-CAFE', $2, $3, $4, $5) RETURNING id, booking_reference, total_amount::float`;
      const [booking] = await query(insert, seats[0].id, eventId, userId, total, new Date(Date.now() + BOOKING));
      for (const seat of seats)
        await query("INSERT INTO booking_seats (booking_id, seat_id, price_paid) VALUES ($1, $2, $3)", booking.id, seat.id, seat.price);
      return { booking };
    }),

  // A booking remembers its newest order only.
  async order({ bookingId, currency = "INR" }) {
    const [booking] = await rows(
      "SELECT booking_reference, round(total_amount * 100)::integer AS amount FROM bookings WHERE id = $1",
      bookingId,
    );
    const response = await fetch(`${env.RAZORPAY_API_URL}/v1/orders`, {
      method: "POST",
      headers: { authorization: `Basic ${btoa(`${env.RAZORPAY_KEY_ID}:${env.RAZORPAY_KEY_SECRET}`)}`, "content-type": "application/json" },
      body: JSON.stringify({ amount: booking.amount, currency, receipt: booking.booking_reference }),
    });
    if (!response.ok) throw new Error(await response.text());
    const { id } = await response.json();
    await rows("UPDATE bookings SET payment_id = $2, payment_gateway = 'razorpay' WHERE id = $1", bookingId, id);
    return id;
  },

  // The payment's id takes the place of the order's.
  confirm: ({ bookingId, paymentId, tickets = true }) =>
    transaction(async (query) => {
      const update = `UPDATE bookings SET status = 'confirmed', payment_status = 'completed', payment_id = $2, payment_gateway = 'razorpay', confirmed_at = now()
                      WHERE id = $1 AND status = 'pending' RETURNING id`;
      if (!(await query(update, bookingId, paymentId)).length) throw new Error("Booking could not be confirmed.");
      await query(
        "UPDATE seats SET status = 'booked', booked_at = now() WHERE id IN (SELECT seat_id FROM booking_seats WHERE booking_id = $1)",
        bookingId,
      );
      const insert = `INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_code, status, generated_at)
                      SELECT b.id, s.id, 'TKT-' || b.booking_reference || '-' || s.seat_label, s.seat_label, t.name, bs.price_paid,
                             'data:image/png;base64,iVBORw0KGgo=', 'generated', now()
                      FROM bookings b JOIN booking_seats bs ON bs.booking_id = b.id JOIN seats s ON s.id = bs.seat_id
                      JOIN event_seat_types t ON t.id = s.event_seat_type_id WHERE b.id = $1`;
      if (tickets) await query(insert, bookingId);
    }),

  // Nobody had paid, and yet it says 'refunded'; the keys of the seats stay in Redis
  // (docs/contract.md#change-8 and docs/contract.md#change-11).
  cancel: ({ userId, bookingId, reason = "Cancelled by user", key }) =>
    transaction(async (query) => {
      const answer = { message: "Booking cancelled successfully", booking_id: bookingId };
      const update = `UPDATE bookings SET status = 'cancelled', payment_status = 'refunded', cancelled_at = now(), cancellation_reason = $3
                      WHERE id = $1 AND user_id = $2 AND status = 'pending' RETURNING id`;
      if (!(await query(update, bookingId, userId, reason)).length) throw new Error("Booking could not be cancelled.");
      await restore(
        query,
        await query(
          "DELETE FROM seats WHERE id IN (SELECT seat_id FROM booking_seats WHERE booking_id = $1) RETURNING event_seat_type_id",
          bookingId,
        ),
      );
      const remember = `INSERT INTO idempotency_keys (idempotency_key, operation_type, resource_id, user_id, status, response_data, completed_at, expires_at)
                        VALUES ($1, 'cancel_booking', $2, $3, 'completed', $4, now(), now() + interval '1 day')`;
      if (key) await query(remember, key, bookingId, userId, answer);
      return answer;
    }),

  sweep: () =>
    transaction(async (query) =>
      restore(query, await query("DELETE FROM seats WHERE status = 'locked' AND expires_at < now() RETURNING event_seat_type_id")),
    ),
};

async function run({ id, command, ...args }) {
  let answer;
  try {
    answer = { data: (await commands[command](args)) ?? null };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify({ type: "answer", id, ...answer }) + "\n");
}

for await (const line of lines) run(JSON.parse(line));
await db.end();
redis.disconnect();

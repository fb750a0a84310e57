// The workers of the shop in one process: webhooks, tickets, mail. Each job may run twice and changes
// nothing the second time; what Redis or a process that died has lost is enqueued again.

import { Worker } from "bullmq";
import { createTransport } from "nodemailer";
import QRCode from "qrcode";

import { db, queue, redis, transaction } from "./connections.js";

const webhooks = queue("webhooks");
const tickets = queue("tickets");
const mail = queue("mail");
const mailer = createTransport({ url: process.env.SMTP_URL, pool: true });

const work = (name, handler) =>
    new Worker(name, (job) => handler(job.data), { connection: redis.duplicate(), prefix: "shop", concurrency: 16 });

/** Confirms the booking that a captured payment is for. */
const settle = async ({ id }) => {
    const booking = await transaction(async (client) => {
        const { rows } = await client.query({
            name: "take",
            text: "UPDATE webhook_events SET processed_at = coalesce(processed_at, now()) WHERE event_id = $1 RETURNING body",
            values: [id],
        });
        const body = JSON.parse(rows[0]?.body ?? "{}");
        const paid = body.event === "payment.captured" ? body.payload.payment.entity : null;
        if (!paid) return null;
        const confirmed = await client.query({
            name: "confirm",
            text: `WITH confirmed AS (
                       UPDATE bookings SET status = 'confirmed', payment_status = 'completed', payment_id = $2, confirmed_at = now()
                       WHERE order_id = $1 AND status = 'pending' AND total_amount * 100 = $3 RETURNING id
                   ), paid AS (
                       INSERT INTO payments (payment_id, booking_id, order_id, amount_paise) SELECT $2, id, $1, $3 FROM confirmed
                   ), booked AS (
                       UPDATE seats SET status = 'booked', expires_at = NULL FROM confirmed WHERE booking_id = confirmed.id
                   )
                   SELECT id FROM confirmed`,
            values: [paid.order_id, paid.id, paid.amount],
        });
        if (confirmed.rows[0]) return confirmed.rows[0].id;
        // An earlier run may have confirmed it and died.
        const { rows: earlier } = await client.query("SELECT id FROM bookings WHERE order_id = $1 AND status = 'confirmed'", [paid.order_id]);
        return earlier[0]?.id;
    });
    if (booking) await tickets.add("make", { booking }, { jobId: `tickets-${booking}` });
};

const make = async ({ booking }) => {
    const { rows } = await db.query({
        name: "unmade",
        text: `SELECT s.id, s.seat_label, b.booking_reference FROM bookings b JOIN seats s ON s.booking_id = b.id
               WHERE b.id = $1 AND NOT EXISTS (SELECT 1 FROM tickets t WHERE t.seat_id = s.id)`,
        values: [booking],
    });
    const ids = rows.map((seat) => `TKT-${seat.booking_reference}-${seat.seat_label}`);
    const codes = await Promise.all(ids.map((id) => QRCode.toDataURL(id, { errorCorrectionLevel: "H", width: 300 })));
    await db.query({
        name: "made",
        text: `INSERT INTO tickets (booking_id, seat_id, ticket_id, qr_code)
               SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::text[]) ON CONFLICT (seat_id) DO NOTHING`,
        values: [booking, rows.map((seat) => seat.id), ids, codes],
    });
    await mail.add("send", { booking }, { jobId: `mail-${booking}` });
};

const send = async ({ booking }) => {
    const { rows } = await db.query({
        name: "unsent",
        text: `SELECT t.ticket_id, t.qr_code, u.email, e.name FROM tickets t JOIN bookings b ON b.id = t.booking_id
               JOIN users u ON u.id = b.user_id JOIN events e ON e.id = b.event_id WHERE b.id = $1 AND NOT t.email_sent`,
        values: [booking],
    });
    if (rows.length === 0) return;
    await mailer.sendMail({
        from: "tickets@nexus.example",
        to: rows[0].email,
        subject: `Your tickets for ${rows[0].name}`,
        text: `Your tickets: ${rows.map((ticket) => ticket.ticket_id).join(", ")}`,
        attachments: rows.map((ticket) => ({ filename: `${ticket.ticket_id}.png`, path: ticket.qr_code })),
    });
    await db.query({
        name: "sent",
        text: `WITH sent AS (UPDATE tickets SET email_sent = TRUE WHERE booking_id = $1)
               UPDATE bookings SET is_delivered = TRUE WHERE id = $1`,
        values: [booking],
    });
};

/** Enqueues what should have been done for a minute. */
const rescue = async () => {
    const unprocessed = await db.query(
        "SELECT event_id AS id FROM webhook_events WHERE processed_at IS NULL AND received_at < now() - interval '1 minute' LIMIT 1000",
    );
    for (const { id } of unprocessed.rows) await webhooks.add("settle", { id }, { jobId: id });
    const undelivered = await db.query(
        `SELECT id FROM bookings WHERE status = 'confirmed' AND NOT is_delivered AND confirmed_at < now() - interval '1 minute' LIMIT 1000`,
    );
    for (const { id } of undelivered.rows) await tickets.add("make", { booking: id }, { jobId: `tickets-${id}` });
};

work("webhooks", settle);
work("tickets", make);
work("mail", send);
setInterval(() => rescue().catch(console.error), 30_000);
process.on("SIGTERM", () => process.exit(0));

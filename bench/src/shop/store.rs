//! The database of a shop, and what is put there before anything is measured. Both schemas have the
//! tables of the Node service in common, so most of it is the same for both.

use anyhow::Result;
use nexus_common::tickets::{codes::SigningKey, keys};
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{requests::OnSale, seller::Seller};
use crate::servers::{Servers, script};

/// The name of the database: a shop has it for itself while it is open.
pub const NAME: &str = "shop";

/// An empty database with a seller's schema. Goes with [`Store::drop`].
#[derive(Debug)]
pub struct Store {
    /// Where it is.
    pub url: String,
    /// The driver's connections to it.
    pub db: PgPool,
    seller: Seller,
}

impl Store {
    /// Makes it, in place of an earlier one of that name.
    pub async fn create(servers: &Servers, seller: &Seller) -> Result<Self> {
        for step in [format!("DROP DATABASE IF EXISTS {NAME}"), format!("CREATE DATABASE {NAME}")] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(step)).execute(&servers.db).await?;
        }
        let url = servers.database_url(servers.postgres.port(), NAME);
        let db = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        if let Some(release) = seller.release() {
            release.migrate(servers, &url)?;
        } else {
            let schema = std::fs::read_to_string(script("shop/schema.sql"))?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(&db).await?;
        }
        Ok(Store { url, db, seller: seller.clone() })
    }

    /// Removes it, and what its processes have left in Redis.
    pub async fn drop(self, servers: &Servers) -> Result<()> {
        self.db.close().await;
        let drop = format!("DROP DATABASE {NAME} WITH (FORCE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&servers.db).await?;
        servers.flush_redis().await
    }

    /// Makes users, all with the same password; returns their ids.
    pub async fn users(&self, count: usize, password: &str) -> Result<Vec<i32>> {
        let insert = "INSERT INTO users (name, email, password)
                      SELECT 'Buyer ' || n, 'buyer-' || n || '@nexus.example', $2 FROM generate_series(1, $1) n RETURNING id";
        let ids = sqlx::query_scalar(insert).bind(count as i32).bind(password);
        let ids = ids.fetch_all(&self.db).await?;
        // Only proved addresses get their tickets. An older schema does not know the difference.
        let prove = "DO $$ BEGIN UPDATE users SET email_verified_at = now(); EXCEPTION WHEN undefined_column THEN NULL; END $$";
        sqlx::raw_sql(prove).execute(&self.db).await?;
        Ok(ids)
    }

    /// Puts events on sale that all look alike, with two seat types each.
    pub async fn events(&self, count: usize, organiser: i32) -> Result<()> {
        let insert = "WITH event AS (
                 INSERT INTO events (name, description, location, start_date, end_date, organizer_id)
                 SELECT 'Event ' || n, repeat('An evening to remember. ', 20), 'Mumbai', now() + interval '30 days', now() + interval '31 days', $2
                 FROM generate_series(1, $1) n RETURNING id
             )
             INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity)
             SELECT event.id, type.name, type.price, 500, 500 FROM event, (VALUES ('VIP', 2000), ('Standing', 500)) AS type (name, price)";
        sqlx::query(insert).bind(count as i32).bind(organiser).execute(&self.db).await?;
        Ok(())
    }

    /// Locks the seats `<letter>1` to `<letter><count>`, one for each user in turn.
    pub async fn lock(
        &self,
        on_sale: OnSale,
        letter: &str,
        count: usize,
        users: &[i32],
    ) -> Result<()> {
        let lock = "INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
                    SELECT $1, $2, $3 || n, ($5::int[])[1 + n % cardinality($5::int[])], 'locked', now(), now() + interval '1 hour'
                    FROM generate_series(1, $4) n";
        sqlx::query(lock)
            .bind(on_sale.event)
            .bind(on_sale.seat_type)
            .bind(letter)
            .bind(count as i32)
            .bind(users)
            .execute(&self.db)
            .await?;
        let count_them = "UPDATE event_seat_types SET available_quantity = available_quantity - $2 WHERE id = $1";
        sqlx::query(count_them)
            .bind(on_sale.seat_type)
            .bind(count as i32)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Books the seats that [`Store::lock`] has locked, one booking for each, with an order that
    /// waits for its payment: `order_<letter>1` and so on.
    pub async fn book(&self, on_sale: OnSale, letter: &str) -> Result<()> {
        let booked = "INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, expires_at%columns)
                      SELECT 'BKG-' || seat_label, event_id, user_id, 100, 'pending', 'pending', now() + interval '1 hour'%values
                      FROM seats WHERE event_seat_type_id = $1 AND seat_label LIKE $2 || '%' ORDER BY id";
        let (columns, values, after): (_, _, &[&str]) = match self.seller {
            Seller::Before(_) | Seller::Nexus(_) => (
                ", orders_are_marked",
                ", TRUE",
                &[
                    "INSERT INTO booking_seats (booking_id, seat_id, price_paid, event_seat_type_id, seat_label)
                     SELECT b.id, s.id, 100, s.event_seat_type_id, s.seat_label FROM seats s JOIN bookings b ON b.booking_reference = 'BKG-' || s.seat_label
                     WHERE s.event_seat_type_id = $1 AND s.seat_label LIKE $2 || '%'",
                    "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
                     SELECT 'order_' || s.seat_label, b.id, 10000, 'INR' FROM seats s JOIN bookings b ON b.booking_reference = 'BKG-' || s.seat_label
                     WHERE s.event_seat_type_id = $1 AND s.seat_label LIKE $2 || '%'",
                ],
            ),
            Seller::Node => (
                ", order_id",
                ", 'order_' || seat_label",
                &["UPDATE seats s SET booking_id = b.id FROM bookings b
                   WHERE b.booking_reference = 'BKG-' || s.seat_label AND s.event_seat_type_id = $1 AND s.seat_label LIKE $2 || '%'"],
            ),
        };
        let booked = booked.replace("%columns", columns).replace("%values", values);
        for step in std::iter::once(booked.as_str()).chain(after.iter().copied()) {
            let step = sqlx::query(sqlx::AssertSqlSafe(step.to_owned()));
            step.bind(on_sale.seat_type).bind(letter).execute(&self.db).await?;
        }
        Ok(())
    }

    /// Sells so many seats, each to one user in turn; returns the tickets with the nonces of their
    /// codes.
    pub async fn sell(
        &self,
        on_sale: OnSale,
        count: usize,
        users: &[i32],
    ) -> Result<Vec<(i32, i64)>> {
        self.lock(on_sale, "T", count, users).await?;
        let sold = "WITH sold AS (
                        UPDATE seats SET status = 'booked', booked_at = now(), expires_at = NULL
                        WHERE event_seat_type_id = $1 AND seat_label LIKE 'T%' RETURNING id, event_id, user_id, seat_label
                    ), booked AS (
                        INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, confirmed_at)
                        SELECT 'BKG-' || seat_label, event_id, user_id, 100, 'confirmed', 'completed', now() FROM sold RETURNING id, booking_reference
                    )
                    INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_nonce, status)
                    SELECT booked.id, sold.id, 'TKT-' || booking_reference, seat_label, 'VIP', 100, sold.id, 'generated'
                    FROM sold JOIN booked ON booking_reference = 'BKG-' || seat_label RETURNING id, qr_nonce";
        let tickets = sqlx::query_as(sold).bind(on_sale.seat_type).fetch_all(&self.db).await?;
        sqlx::query("ANALYZE tickets, bookings, seats").execute(&self.db).await?;
        Ok(tickets)
    }

    /// Lets every door know the key that signs tickets.
    pub async fn publish(&self, key: &SigningKey) -> Result<()> {
        let mut conn = self.db.acquire().await?;
        keys::add(&mut conn, &key.public()).await?;
        Ok(())
    }

    /// How many of an event's bookings are confirmed, how many tickets they have, and how many of
    /// these have been mailed.
    pub async fn sold(&self, on_sale: OnSale) -> Result<(i64, i64, i64)> {
        let look = "SELECT (SELECT count(*) FROM bookings WHERE event_id = $1 AND status = 'confirmed'), count(*), count(*) FILTER (WHERE email_sent)
                    FROM tickets t JOIN bookings b ON b.id = t.booking_id WHERE b.event_id = $1";
        Ok(sqlx::query_as(look).bind(on_sale.event).fetch_one(&self.db).await?)
    }
}

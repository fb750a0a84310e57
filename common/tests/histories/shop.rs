//! One event of a history, and how each step is taken: by the verbs that the API and the workers
//! use, each in its own transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nexus_common::{
    Error,
    bookings::{
        booking_states::BookingEvent, cancellation, changes, creation, event_removal,
        new_bookings::NewBooking, new_bookings::Terms, sale,
    },
    config::Chargeable,
    error::Kind,
    events::inventory,
    ledger::refunds,
    payments::{
        orders::{self, CreatedOrder, NewOrder},
        provider_refunds::{self, ProviderRefund, ProviderRefundStatus},
        webhook_actions::{self, WebhookAction},
        webhooks::Webhook,
    },
    realtime::AfterCommit,
    seats::{freeing, hints, selection::Selection},
    types::{
        ids::{BookingId, EventId, NetworkHash, RefundId, SeatTypeId, UserId, WebhookId},
        money::Paise,
        seats::{SeatKey, SeatLabel},
    },
};
use proptest::sample::Index;
use serde_json::Value;
use sqlx::PgTransaction;

use super::{Step, World, razorpay::Razorpay};

pub(crate) const BUYERS: usize = 3;
/// One seat more than are for sale, and one that costs nothing: seat type and label.
pub(crate) const SEATS: [(usize, &str); 4] = [(0, "A1"), (0, "A2"), (0, "A3"), (1, "F1")];
/// Price in rupees and quantity of each seat type.
const TYPES: [(i32, i32); 2] = [(100, 2), (0, 1)];

pub(crate) struct Shop<'a> {
    pub(crate) world: &'a World,
    pub(crate) event: EventId,
    types: Vec<SeatTypeId>,
    /// With who made them.
    pub(crate) bookings: Vec<(BookingId, UserId)>,
    pub(crate) razorpay: Razorpay,
}

/// A refusal is a step that does nothing; a defect fails the history.
fn allowed<T>(result: Result<T, Error>) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), Kind::Internal | Kind::Unavailable) => {
            Err(error.details())
        }
        Err(_) => Ok(None),
    }
}

fn pick<T: Clone>(index: Index, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| index.get(from).clone())
}

fn position<T>(index: Index, from: &[T]) -> Option<usize> {
    (!from.is_empty()).then(|| index.index(from.len()))
}

impl<'a> Shop<'a> {
    pub(crate) async fn open(world: &'a World) -> Result<Self, String> {
        let insert = "WITH event AS (
                INSERT INTO events (name, description, start_date, end_date, location, organizer_id)
                VALUES ('Event', 'Event', now() + interval '1 day', now() + interval '2 days', 'Here', $1) RETURNING id
            ) INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity)
              SELECT event.id, 'Type', t.price, t.quantity, t.quantity FROM event, unnest($2::int[], $3::int[]) AS t (price, quantity)
              RETURNING event_id, id";
        let (prices, quantities): (Vec<i32>, Vec<i32>) = TYPES.into_iter().unzip();
        let rows: Vec<(i32, i32)> = sqlx::query_as(insert)
            .bind(world.organiser)
            .bind(prices)
            .bind(quantities)
            .fetch_all(&world.db)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Shop {
            world,
            event: EventId(rows[0].0),
            types: rows.iter().map(|row| SeatTypeId(row.1)).collect(),
            bookings: Vec::new(),
            razorpay: Razorpay { name: rows[0].0.to_string(), ..Razorpay::default() },
        })
    }

    fn buyer(&self, buyer: usize) -> UserId {
        UserId(self.world.buyers[buyer])
    }

    async fn begin(&self) -> Result<PgTransaction<'static>, String> {
        self.world.db.begin().await.map_err(|error| error.to_string())
    }

    /// Commits what was done, or rolls back what was refused.
    async fn end<T>(
        &self,
        tx: PgTransaction<'_>,
        result: Result<T, Error>,
    ) -> Result<Option<T>, String> {
        let value = allowed(result)?;
        let ended = if value.is_some() { tx.commit().await } else { tx.rollback().await };
        ended.map_err(|error| error.to_string())?;
        Ok(value)
    }

    /// Changes something that only the clock or an operator changes.
    async fn arrange(&self, statement: &'static str, id: i32) -> Result<(), String> {
        sqlx::query(statement)
            .bind(id)
            .execute(&self.world.db)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Lock { buyer, seats } => self.lock(*buyer, seats).await,
            Step::Book { buyer } => self.book(*buyer).await,
            Step::Order { booking } => match pick(*booking, &self.bookings) {
                Some((booking, buyer)) => self.order(booking, buyer).await,
                None => Ok(()),
            },
            Step::Want { buyer, seats } => {
                self.lock(*buyer, seats).await?;
                self.book(*buyer).await?;
                match self.bookings.last() {
                    Some((booking, buyer)) => self.order(*booking, *buyer).await,
                    None => Ok(()),
                }
            }
            Step::ConfirmFree { booking } => match pick(*booking, &self.bookings) {
                Some((booking, _)) => self.confirm_free(booking).await,
                None => Ok(()),
            },
            Step::Pay { order, outcome, amount } => {
                if let Some(order) = position(*order, &self.razorpay.orders) {
                    self.razorpay.pay(order, *outcome, *amount);
                }
                Ok(())
            }
            Step::ChangeMind { payment, outcome } => {
                if let Some(payment) = position(*payment, &self.razorpay.payments) {
                    self.razorpay.attempt(payment, *outcome);
                }
                Ok(())
            }
            Step::Lapse { payment } => {
                if let Some(payment) = position(*payment, &self.razorpay.payments) {
                    self.razorpay.lapse(payment);
                }
                Ok(())
            }
            Step::Deliver { webhook } => match position(*webhook, &self.razorpay.waiting) {
                Some(webhook) => self.deliver(webhook).await,
                None => Ok(()),
            },
            Step::DeliverAgain { webhook } => match pick(*webhook, &self.razorpay.delivered) {
                Some(webhook) => self.hear(&webhook).await,
                None => Ok(()),
            },
            Step::Overdue { booking } => match pick(*booking, &self.bookings) {
                Some((booking, _)) => {
                    let late = "WITH late AS (UPDATE bookings SET expires_at = now() - interval '1 second' WHERE id = $1 AND status = 'pending' RETURNING id)
                                UPDATE seats SET expires_at = now() - interval '1 second'
                                WHERE status = 'locked' AND id IN (SELECT seat_id FROM booking_seats JOIN late ON late.id = booking_id)";
                    self.arrange(late, booking.0).await
                }
                None => Ok(()),
            },
            Step::LocksRunOut => {
                let late = "UPDATE seats s SET expires_at = now() - interval '1 second'
                            WHERE event_id = $1 AND status = 'locked' AND NOT EXISTS (SELECT 1 FROM booking_seats WHERE seat_id = s.id)";
                self.arrange(late, self.event.0).await
            }
            Step::Sweep => self.sweep().await,
            Step::Cancel { booking } => match pick(*booking, &self.bookings) {
                Some((booking, buyer)) => {
                    let mut tx = self.begin().await?;
                    let result =
                        cancellation::cancel(&mut tx, booking, buyer, None, None, Duration::ZERO)
                            .await;
                    self.end(tx, result).await.map(drop)
                }
                None => Ok(()),
            },
            Step::AskRefund { refund } => match pick(*refund, &self.owed().await?) {
                Some(refund) => self.ask_refund(refund).await,
                None => Ok(()),
            },
            Step::EndRefund { refund, succeeds } => {
                if let Some(refund) = position(*refund, &self.razorpay.refunds) {
                    self.razorpay.end_refund(refund, *succeeds);
                }
                Ok(())
            }
            Step::RefundByHand { payment, part } => {
                if let Some(payment) = position(*payment, &self.razorpay.payments) {
                    self.razorpay.refund_by_hand(payment, *part);
                }
                Ok(())
            }
            Step::Dispute { payment, part, deduct } => {
                if let Some(payment) = position(*payment, &self.razorpay.payments) {
                    self.razorpay.open_dispute(payment, *part, *deduct);
                }
                Ok(())
            }
            Step::EndDispute { dispute, won } => {
                if let Some(dispute) = position(*dispute, &self.razorpay.disputes) {
                    self.razorpay.end_dispute(dispute, *won);
                }
                Ok(())
            }
            Step::StartEvent => {
                let started =
                    "UPDATE events SET start_date = now() - interval '1 second' WHERE id = $1";
                self.arrange(started, self.event.0).await
            }
            Step::CancelEvent => self.cancel_event().await,
            Step::DeleteEvent => {
                let mut tx = self.begin().await?;
                let organiser = UserId(self.world.organiser);
                let result = event_removal::delete(&mut tx, self.event, organiser).await;
                self.end(tx, result).await.map(drop)
            }
        }
    }

    async fn lock(&self, buyer: usize, seats: &[usize]) -> Result<(), String> {
        let mut wanted = BTreeSet::new();
        for seat in BTreeSet::from_iter(seats) {
            let (seat_type, label) = SEATS[*seat];
            let label = SeatLabel::parse(label).map_err(|error| error.to_string())?;
            let key = SeatKey { event: self.event, seat_type: self.types[seat_type], label };
            // A hint of Redis's may be two seconds old; PostgreSQL decides here.
            hints::drop_stale(&self.world.cache, &key).await;
            wanted.insert((key.seat_type, key.label));
        }
        let wanted = Selection::new(self.event, wanted, BTreeMap::new());
        let Some(wanted) = allowed(wanted)? else { return Ok(()) };
        allowed(self.world.locks.lock(self.buyer(buyer), NetworkHash(1), None, false, wanted).await)
            .map(drop)
    }

    /// Books whatever the buyer has locked.
    async fn book(&mut self, buyer: usize) -> Result<(), String> {
        let locked: Vec<(SeatTypeId, SeatLabel)> = sqlx::query_as(
            "SELECT event_seat_type_id, seat_label FROM seats s WHERE event_id = $1 AND user_id = $2 AND status = 'locked'
             AND NOT EXISTS (SELECT 1 FROM booking_seats WHERE seat_id = s.id)",
        )
        .bind(self.event.0)
        .bind(self.buyer(buyer).0)
        .fetch_all(&self.world.db)
        .await
        .map_err(|error| error.to_string())?;
        if locked.is_empty() {
            return Ok(());
        }
        let new = NewBooking {
            event: self.event,
            seats: locked.into_iter().collect(),
            holders: BTreeMap::new(),
            code: None,
        };
        let mut tx = self.begin().await?;
        let chargeable = Chargeable { most: Paise::MAX };
        let (valid, lock) = (Duration::from_secs(900), Duration::from_secs(600));
        let terms = Terms { valid, lock, most_unpaid: 1_000, chargeable };
        let result = creation::create(&mut tx, self.buyer(buyer), new, terms).await;
        if let Some((created, _)) = self.end(tx, result).await? {
            self.bookings.push((created.booking.id, self.buyer(buyer)));
        }
        Ok(())
    }

    async fn order(&mut self, booking: BookingId, buyer: UserId) -> Result<(), String> {
        let mut tx = self.begin().await?;
        let total: Option<Paise> =
            sqlx::query_scalar("SELECT total_amount FROM bookings WHERE id = $1")
                .bind(booking.0)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|error| error.to_string())?;
        let result = match total.unwrap_or(Paise::ZERO) {
            Paise::ZERO => Err(Error::invalid("Valid amount is required")),
            amount => orders::payable(&mut tx, buyer, &NewOrder { booking, amount }).await,
        };
        let Some(payable) = self.end(tx, result).await? else { return Ok(()) };
        if payable.open_order.is_none() {
            let order_id = self.razorpay.create_order(payable.total.get());
            let new = CreatedOrder { booking, order_id, amount: payable.total };
            let mut tx = self.begin().await?;
            let result = orders::remember(&mut tx, new).await;
            self.end(tx, result).await?;
        }
        Ok(())
    }

    async fn confirm_free(&self, booking: BookingId) -> Result<(), String> {
        let mut tx = self.begin().await?;
        let result = async {
            match sale::lock_for_update(&mut tx, booking, None).await? {
                Some(held) => sale::confirm_free(&mut tx, &held, &mut AfterCommit::default()).await,
                None => Ok(false),
            }
        };
        let result = result.await;
        self.end(tx, result).await.map(drop)
    }

    async fn deliver(&mut self, webhook: usize) -> Result<(), String> {
        let webhook = self.razorpay.waiting.remove(webhook);
        self.hear(&webhook).await?;
        self.razorpay.delivered.push(webhook);
        Ok(())
    }

    /// What the payments worker does with a webhook.
    async fn hear(&mut self, webhook: &Value) -> Result<(), String> {
        let event = Webhook::parse(webhook.to_string().as_bytes()).expect("a webhook").event();
        let mut after = AfterCommit::default();
        let mut tx = self.begin().await?;
        let result = webhook_actions::act_on(&mut tx, WebhookId(0), event, &mut after).await;
        match self.end(tx, result).await? {
            Some(WebhookAction::Done(_)) => Ok(()),
            Some(WebhookAction::Capture(money)) if self.razorpay.capture(&money.payment_id) => {
                let mut tx = self.begin().await?;
                let result = webhook_actions::settle(&mut tx, &money, &mut after).await;
                self.end(tx, result).await.map(drop)
            }
            Some(WebhookAction::Capture(_)) => Ok(()),
            Some(WebhookAction::FindOrder(money)) => Err(format!("{} is unknown", money.order_id)),
            None => Err("a webhook was refused".into()),
        }
    }

    async fn sweep(&self) -> Result<(), String> {
        for (booking, _) in &self.bookings {
            let mut tx = self.begin().await?;
            let result = changes::expire(&mut tx, *booking, &mut AfterCommit::default()).await;
            self.end(tx, result).await?;
        }
        let all = self.types.iter().map(|seat_type| (*seat_type, 100)).collect();
        let mut tx = self.begin().await?;
        let result = async {
            inventory::lock_inventory(&mut tx, &[self.event]).await?;
            freeing::free_expired(&mut tx, &[], &all).await
        };
        let result = result.await;
        self.end(tx, result).await.map(drop)
    }

    async fn cancel_event(&self) -> Result<(), String> {
        self.arrange("UPDATE events SET status = 'cancelled' WHERE id = $1", self.event.0).await?;
        for (booking, _) in &self.bookings {
            let mut tx = self.begin().await?;
            let result = async {
                let Some(held) = changes::lock_for_update(&mut tx, *booking).await? else {
                    return Ok(false);
                };
                let (event, mut after) = (BookingEvent::EventCancelled, AfterCommit::default());
                cancellation::carry_out(&mut tx, &held, event, None, &mut after).await
            };
            let result = result.await;
            self.end(tx, result).await?;
        }
        Ok(())
    }

    /// Refunds that Razorpay has to be asked for.
    async fn owed(&self) -> Result<Vec<RefundId>, String> {
        let bookings: Vec<i32> = self.bookings.iter().map(|(booking, _)| booking.0).collect();
        sqlx::query_scalar("SELECT id FROM refunds WHERE booking_id = ANY ($1) AND status IN ('pending', 'failed') ORDER BY id")
            .bind(bookings)
            .fetch_all(&self.world.db)
            .await
            .map_err(|error| error.to_string())
    }

    async fn ask_refund(&mut self, id: RefundId) -> Result<(), String> {
        let mut tx = self.begin().await?;
        let result = refunds::get(&mut tx, id).await;
        let Some(refund) = self.end(tx, result).await?.flatten() else { return Ok(()) };
        if refund.is_too_little() {
            let mut tx = self.begin().await?;
            let result = provider_refunds::leave(&mut tx, id, &refund.payment_id).await;
            return self.end(tx, result).await.map(drop);
        }
        // What is refused leads to a look at what others have asked for.
        let made = match self.razorpay.refund(&refund.payment_id, refund.left_paise, &refund.key())
        {
            Some(made) => vec![made],
            None => {
                let refunds = self.razorpay.refunds.iter();
                refunds.filter(|made| made.payment == refund.payment_id).cloned().collect()
            }
        };
        let mut tx = self.begin().await?;
        let result = async {
            for made in made {
                let told = ProviderRefund {
                    ours: refunds::is_ours(&refund.payment_id, made.receipt.as_deref()),
                    refund_id: made.id,
                    amount_paise: made.paise,
                    payment: refund.payment(),
                };
                let status = ProviderRefundStatus::of(made.status);
                provider_refunds::follow(&mut tx, &told, status, &mut AfterCommit::default())
                    .await?;
            }
            Ok(())
        };
        let result = result.await;
        self.end(tx, result).await.map(drop)
    }

    /// All webhooks arrive, which has us capture what is authorized, what is overdue is swept, and
    /// every refund is made.
    pub(crate) async fn come_to_rest(&mut self) -> Result<(), String> {
        self.take(&Step::LocksRunOut).await?;
        for _ in 0..20 {
            while !self.razorpay.waiting.is_empty() {
                self.deliver(0).await?;
            }
            self.sweep().await?;
            for refund in self.owed().await? {
                self.ask_refund(refund).await?;
            }
            for refund in 0..self.razorpay.refunds.len() {
                self.razorpay.end_refund(refund, true);
            }
            for dispute in 0..self.razorpay.disputes.len() {
                self.razorpay.end_dispute(dispute, dispute % 2 == 0);
            }
            if self.razorpay.waiting.is_empty() {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }
}

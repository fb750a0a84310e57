//! Whether all money has become a seat, or gone back.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::stack::Stack;
use crate::waiting::{eventually, seen};

impl Stack {
    /// When the books learned of each payment, in seconds since 1970, and what came of it.
    pub async fn decisions(&self) -> HashMap<String, (f64, String)> {
        let query = "SELECT c.payment_id, extract(epoch FROM c.created_at)::float8 AS at,
                            coalesce((SELECT status FROM refunds r WHERE r.payment_id = c.payment_id),
                                     (SELECT kind FROM payments s WHERE s.payment_id = c.payment_id AND s.kind = 'sale'), 'nothing') AS end
                     FROM payments c WHERE c.kind = 'capture'";
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = self.rows(query).await;
        rows.iter()
            .map(|row| (text(&row["payment_id"]), (row["at"].as_f64().unwrap(), text(&row["end"]))))
            .collect()
    }

    /// Waits until all money at the provider is a sale or has gone back.
    pub async fn until_settled(&self, deadline: Duration) {
        eventually("every payment is settled", deadline, async || {
            let decided = self.decisions().await;
            let mut open = Vec::new();
            for payment in self.providers.payments() {
                let end = decided.get(&payment.id).map(|(_, end)| end.as_str());
                match (payment.status, end) {
                    ("captured", Some("sale")) | ("refunded", Some("processed")) | ("failed", None) => {}
                    ("authorized", None) => {
                        let query = format!("payment_orders o JOIN bookings b ON b.id = o.booking_id WHERE o.order_id = '{}' AND b.status = 'pending'", payment.order_id);
                        if self.count(&query).await > 0 {
                            open.push(format!("{} is authorized for a pending booking", payment.id));
                        }
                    }
                    (status, end) => open.push(format!("{} is {status}, its end {end:?}", payment.id)),
                }
            }
            if !open.is_empty() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            seen(open.is_empty(), open).map(drop)
        })
        .await;
    }

    /// Paise that were taken, sent back, and are in confirmed bookings.
    pub async fn money(&self) -> (i64, i64, i64) {
        let taken = self
            .providers
            .payments()
            .iter()
            .filter(|payment| payment.captured)
            .map(|p| p.amount)
            .sum();
        let refunds = self.providers.refunds();
        let back =
            refunds.iter().filter(|refund| refund.status == "processed").map(|r| r.amount).sum();
        let sold = "SELECT coalesce(sum(total_amount * 100), 0)::bigint AS paise FROM bookings WHERE status = 'confirmed'";
        (taken, back, self.row(sold).await["paise"].as_i64().unwrap())
    }
}

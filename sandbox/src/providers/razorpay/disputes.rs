//! Disputes: a buyer's bank asks for a payment back, and the test decides how that ends.

use chrono::Utc;
use serde_json::json;

use super::{Dispute, DisputeMove, OpenDispute, Razorpay, Refusal, Result};
use crate::random;

/// Seconds in which the shop may answer.
const A_WEEK: i64 = 7 * 24 * 3_600;

impl Razorpay {
    /// Oldest first.
    pub(crate) fn disputes(&self) -> Vec<Dispute> {
        self.disputes.iter().cloned().collect()
    }

    pub(crate) fn dispute(&self, id: &str) -> Result<Dispute> {
        self.disputes.get(id).cloned().ok_or_else(Refusal::unknown_id)
    }

    /// A buyer's bank disputes a payment.
    pub(crate) fn open_dispute(&mut self, open: &OpenDispute) -> Result<Dispute> {
        let payment = self.payment(&open.payment_id)?;
        let amount = open.amount.unwrap_or(payment.amount);
        if !payment.captured || !(1..=payment.amount).contains(&amount) {
            return Err(Refusal::bad_request(
                "Only captured money can be disputed, and not more than that",
            ));
        }
        let now = Utc::now().timestamp();
        let phase = open.phase.clone().unwrap_or_else(|| "chargeback".to_owned());
        let dispute = Dispute {
            id: format!("disp_{}", random::alphanumeric(14)),
            entity: "dispute",
            payment_id: payment.id,
            amount,
            currency: payment.currency,
            amount_deducted: if open.deduct { amount } else { 0 },
            reason_code: phase.clone(),
            respond_by: open.respond_by.unwrap_or(now + A_WEEK),
            status: "open",
            phase,
            created_at: now,
            evidence: json!({"amount": amount, "summary": null, "submitted_at": null}),
        };
        self.disputes.insert(&dispute.id, dispute.clone());
        self.tell_dispute("payment.dispute.created", &dispute);
        Ok(dispute)
    }

    /// It goes on, or ends. What has ended stays so.
    pub(crate) fn move_dispute(&mut self, id: &str, to: DisputeMove) -> Result<Dispute> {
        let Some(dispute) = self.disputes.get_mut(id) else { return Err(Refusal::unknown_id()) };
        if !matches!(dispute.status, "open" | "under_review") {
            return Err(Refusal::bad_request(
                "Action not allowed as the dispute is already closed",
            ));
        }
        let (status, deducted, event) = match to {
            DisputeMove::UnderReview => {
                ("under_review", dispute.amount_deducted, "payment.dispute.under_review")
            }
            DisputeMove::ActionRequired => {
                ("open", dispute.amount_deducted, "payment.dispute.action_required")
            }
            DisputeMove::Win => ("won", 0, "payment.dispute.won"),
            DisputeMove::Lose => ("lost", dispute.amount, "payment.dispute.lost"),
            DisputeMove::Close => ("closed", 0, "payment.dispute.closed"),
        };
        dispute.status = status;
        dispute.amount_deducted = deducted;
        let dispute = dispute.clone();
        self.tell_dispute(event, &dispute);
        Ok(dispute)
    }

    fn tell_dispute(&mut self, name: &'static str, dispute: &Dispute) {
        let payment = self.payments.get(&dispute.payment_id).cloned();
        self.tell(name, json!({"payment": {"entity": payment}, "dispute": {"entity": dispute}}));
    }
}

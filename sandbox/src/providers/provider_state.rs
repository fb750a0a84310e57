//! The state that all stand-ins share.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ProvidersConfig;
use super::calls::Calls;
use super::fault_injector::FaultInjector;
use super::locked::locked;
use super::mail::Mail;
use super::razorpay::{Event, Lapse, Razorpay, Refund, Refusal};
use super::target::Target;
use super::twilio::Twilio;
use super::webhooks::Webhooks;

pub(crate) struct ProviderState {
    pub(crate) config: ProvidersConfig,
    pub(crate) faults: FaultInjector,
    pub(crate) calls: Calls,
    pub(crate) webhooks: Webhooks,
    /// Cancelled when the stand-ins are dropped: background work ends.
    pub(crate) closed: CancellationToken,
    razorpay: Mutex<Razorpay>,
    twilio: Mutex<Twilio>,
    mailbox: Mutex<VecDeque<Mail>>,
    /// Hashes.
    breached: Mutex<Vec<String>>,
    /// Tokens that have been used.
    captchas: Mutex<HashSet<String>>,
}

impl ProviderState {
    pub(crate) fn new(config: ProvidersConfig) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            faults: FaultInjector::default(),
            calls: Calls::default(),
            webhooks: Webhooks::new(&config)?,
            closed: CancellationToken::new(),
            razorpay: Mutex::new(Razorpay::new(&config.razorpay_key_secret)),
            twilio: Mutex::new(Twilio::new(&config)),
            mailbox: Mutex::default(),
            breached: Mutex::default(),
            captchas: Mutex::default(),
            config,
        }))
    }

    /// Does something at Razorpay and sends the webhooks that follow from it.
    pub(crate) fn razorpay<T>(self: &Arc<Self>, act: impl FnOnce(&mut Razorpay) -> T) -> T {
        let (result, events, lapsing) = {
            let mut razorpay = locked(&self.razorpay);
            (act(&mut razorpay), razorpay.take_events(), razorpay.take_lapsing())
        };
        for Event { name, payload } in events {
            self.emit(name, payload);
        }
        for Lapse { payment_id, begun, minutes } in lapsing {
            let (state, when) = (self.clone(), begun + self.config.razorpay_minute * minutes);
            self.spawn(async move {
                tokio::time::sleep_until(when.into()).await;
                state.lapse(&payment_id);
            });
        }
        result
    }

    /// The time for capturing an authorisation is over.
    fn lapse(self: &Arc<Self>, payment_id: &str) {
        self.razorpay(|razorpay| razorpay.lapse(payment_id));
    }

    /// Refunds a payment as a person at Razorpay's dashboard would; the whole of what is left of it
    /// unless `amount` says otherwise.
    pub(crate) fn refund_manually(
        self: &Arc<Self>,
        payment_id: &str,
        amount: Option<i64>,
    ) -> Result<Refund, Refusal> {
        let body = amount.map_or_else(|| json!({}), |amount| json!({ "amount": amount }));
        let refund = self.razorpay(|razorpay| razorpay.refund(payment_id, None, &body))?;
        self.process_later(&refund);
        Ok(refund)
    }

    /// The bank carries out a refund a while after it was asked for.
    pub(crate) fn process_later(self: &Arc<Self>, refund: &Refund) {
        if refund.status == "pending" {
            let (state, id) = (self.clone(), refund.id.clone());
            self.spawn(async move {
                tokio::time::sleep(state.config.refund_delay).await;
                state.razorpay(|razorpay| razorpay.process_refund(&id));
            });
        }
    }

    pub(crate) fn twilio(&self) -> MutexGuard<'_, Twilio> {
        locked(&self.twilio)
    }

    pub(crate) fn mailbox(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        locked(&self.mailbox)
    }

    pub(crate) fn breached(&self) -> MutexGuard<'_, Vec<String>> {
        locked(&self.breached)
    }

    pub(crate) fn captchas(&self) -> MutexGuard<'_, HashSet<String>> {
        locked(&self.captchas)
    }

    /// Records a webhook event and delivers it in the background.
    pub(crate) fn emit(self: &Arc<Self>, event: &str, payload: serde_json::Value) -> String {
        let id = self.webhooks.record(event, payload);
        // Taken here, so that faults meet events in the order in which they happened.
        let fault = self.faults.take(Target::Webhook, "");
        let (state, event_id) = (self.clone(), id.clone());
        self.spawn(async move { state.webhooks.deliver(fault, &state.calls, &event_id).await });
        id
    }

    /// Background work that ends with the stand-ins.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        tokio::spawn(async move { closed.run_until_cancelled(work).await });
    }
}

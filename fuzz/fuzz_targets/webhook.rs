//! Webhooks, from the bytes on the wire to their meaning: the signature decides, and amounts are
//! valid.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use nexus_common::{
    payments::webhooks::{Webhook, WebhookEvent},
    providers::razorpay::webhook_is_signed,
};
use secrecy::SecretString;
use serde_json::Value;
use sha2::Sha256;

fuzz_target!(|body: &[u8]| {
    signed(body);
    read(body);
});

fn signed(body: &[u8]) {
    let keys = ["the secret of tomorrow", "the secret of today"];
    let secrets = keys.map(SecretString::from);
    let [tomorrow, today] = keys.map(|key| sign(key, body));
    for signature in [&tomorrow, &today] {
        assert!(webhook_is_signed(&secrets, body, signature));
        assert!(!webhook_is_signed(&secrets, body, &signature[1..]));
        assert!(
            !webhook_is_signed(&secrets, body, &signature.to_uppercase())
                || signature.bytes().all(|byte| byte.is_ascii_digit())
        );
    }
    assert!(
        !webhook_is_signed(&secrets[1..], body, &tomorrow),
        "one secret does not stand for another"
    );
    assert!(!webhook_is_signed(&[], body, &today));
    // As a forger would send it: text of any kind, and a signature that belongs to another body.
    let text = String::from_utf8_lossy(&body[..body.len().min(64)]);
    assert!(!webhook_is_signed(&secrets, body, &text));
    for at in [0, body.len() / 2, body.len().saturating_sub(1)] {
        let mut forged = body.to_vec();
        if let Some(byte) = forged.get_mut(at) {
            *byte ^= 1;
            assert!(!webhook_is_signed(&secrets, &forged, &today));
        }
    }
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(body: &[u8]) {
    let webhook = Webhook::parse(body);
    let is_object = serde_json::from_slice::<Value>(body).is_ok_and(|body| body.is_object());
    assert_eq!(webhook.is_some(), is_object, "every JSON object is a webhook, and nothing else");
    let Some(webhook) = webhook else { return };
    assert!(!webhook.event_type.contains('\0'));
    let payment = match webhook.event() {
        WebhookEvent::Payment(_, payment) => payment,
        WebhookEvent::Refund(_, refund) => {
            assert!(!refund.refund_id.contains('\0'));
            refund.payment
        }
        WebhookEvent::Dispute(dispute) => {
            assert!(dispute.amount_paise > 0);
            for text in [
                &dispute.id,
                &dispute.payment_id,
                &dispute.currency,
                &dispute.phase,
                &dispute.reason_code,
            ] {
                assert!(!text.contains('\0'), "PostgreSQL stores no NUL");
            }
            return;
        }
        WebhookEvent::Unreadable => return assert!(webhook.event_type.contains('.')),
        WebhookEvent::Ignored => return,
    };
    assert!(payment.amount_paise > 0);
    for text in [&payment.payment_id, &payment.order_id, &payment.currency] {
        assert!(!text.contains('\0'), "PostgreSQL stores no NUL");
    }
}

//! Passes for Apple Wallet, links to Google Wallet. The certificates are those that the tests of
//! `ticket-files/` have.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nexus_tests::{Stack, Value, json};

use super::delivered;

fn fixture(name: &str) -> String {
    format!("{}/../ticket-files/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A stack with certificates.
pub(crate) fn builder() -> nexus_tests::stack::Builder {
    Stack::builder()
        .env("APPLE_PASS_CERTIFICATE_FILE", fixture("pass.pem"))
        .env("APPLE_PASS_KEY_FILE", fixture("pass.key"))
        .env("APPLE_WWDR_CERTIFICATE_FILE", fixture("intermediate.pem"))
        .env("GOOGLE_WALLET_ISSUER_ID", "3388000000022")
        .env("GOOGLE_WALLET_ACCOUNT_FILE", fixture("account.json"))
}

#[tokio::test]
async fn where_certificates_are_configured_the_mail_and_the_api_have_passes() {
    let stack = builder().start().await;
    let (buyer, _, booking, tickets) = delivered(&stack, "A1").await;
    let code = stack.ticket_code(&tickets[0]);
    let mail = stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    let name = format!("{}.pkpass", booking.reference);
    let attached = mail.attachments.iter().find(|file| file.filename == name).expect("a pass");
    assert_eq!(attached.content_type, "application/vnd.apple.pkpass");
    assert!(mail.html.contains("href=\"https://pay.google.com/gp/v/save/"), "{}", mail.html);

    let pass = buyer.get(&format!("/bookings/{}/tickets.pkpass", booking.id)).await;
    assert_eq!(pass.headers["content-type"], "application/vnd.apple.pkpass");
    // Its files are not compressed.
    for bytes in [&pass.bytes, &attached.content()] {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            text.starts_with("PK") && text.contains("manifest.json") && text.contains("signature")
        );
        let number = tickets[0]["ticket_id"].as_str().unwrap();
        assert!(text.contains(number) && text.contains("Monsoon Jazz Night"));
    }
    let other = format!("/bookings/{}/tickets.pkpass?ticket_id=2147483647", booking.id);
    buyer.get(&other).await.failed(404, "There are no tickets.");
    let unreadable = format!("/bookings/{}/tickets.pkpass?ticket_id=A1", booking.id);
    buyer.get(&unreadable).await.failed(400, "Invalid ticket ID");

    let links = buyer.get(&format!("/bookings/{}/wallet-links", booking.id)).await.data();
    assert_eq!(links[0]["id"], tickets[0]["id"]);
    let link = links[0]["google"].as_str().unwrap();
    let payload = link.rsplit('.').nth(1).expect("a JWT");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!((&claims["aud"], &claims["typ"]), (&json!("google"), &json!("savetowallet")));
    let object = &claims["payload"]["eventTicketObjects"][0];
    let text = object["barcode"]["value"].as_str().unwrap();
    assert_eq!(stack.ticket_text(text), code, "the code that the door takes");
}

#[tokio::test]
async fn ten_passes_come_at_once_and_more_one_by_one() {
    let stack = builder().env("UNPAID_SEATS_PER_ACCOUNT", "20").start().await;
    let (organiser, buyer) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let more = json!({"max_tickets_per_user": 20});
    organiser.put(&format!("/events/{}", event.id), more).await.ok();
    let labels: Vec<String> = (1..=11).map(|n| format!("A{n}")).collect();
    let seats: Vec<(&str, &str)> = labels.iter().map(|label| ("VIP", label.as_str())).collect();
    let (booking, _) = stack.sell(&buyer, &event, &seats).await;
    let tickets = stack.until_tickets(&buyer, &booking, 11).await;
    let mail = stack.mailed(&stack.address(&buyer).await, "Your tickets").await;
    let names: Vec<&str> = mail
        .attachments
        .iter()
        .filter(|file| file.content_type.contains("apple"))
        .map(|file| file.filename.as_str())
        .collect();
    let reference = &booking.reference;
    assert_eq!(names, [format!("{reference}-1.pkpasses"), format!("{reference}-2.pkpass")]);

    let path = format!("/bookings/{}/tickets.pkpass", booking.id);
    buyer.get(&path).await.failed(
        409,
        "Apple Wallet takes ten passes at once. Please ask for one ticket at a time, with ticket_id.",
    );
    let one = buyer.get(&format!("{path}?ticket_id={}", tickets[10]["id"])).await;
    assert_eq!(
        (one.status, &one.headers["content-type"]),
        (200, &"application/vnd.apple.pkpass".parse().unwrap())
    );
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_named_at_start() {
    let stack = Stack::builder().workers([]).api_processes(0).start().await;
    let check = async |settings: &[(&str, String)]| {
        let mut env = stack.env().clone();
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let program = nexus_tests::program::binary("nexus-api");
        let mut command = nexus_tests::program::command(&program, stack.dir(), &env);
        let output = command.arg("check-config").output().expect("nexus-api");
        assert!(!output.status.success(), "{settings:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let apple = |key: &str| {
        [
            ("APPLE_PASS_CERTIFICATE_FILE", fixture("pass.pem")),
            ("APPLE_PASS_KEY_FILE", fixture(key)),
            ("APPLE_WWDR_CERTIFICATE_FILE", fixture("intermediate.pem")),
        ]
    };
    assert!(check(&apple("pass.key")[..2]).await.contains("go together"));
    assert!(check(&apple("no.key")).await.contains("APPLE_PASS_KEY_FILE cannot be read"));
    assert!(check(&apple("intermediate.pem")).await.contains("APPLE_PASS_CERTIFICATE_FILE"));
    let google = [
        ("GOOGLE_WALLET_ISSUER_ID", "x".to_owned()),
        ("GOOGLE_WALLET_ACCOUNT_FILE", fixture("account.json")),
    ];
    assert!(check(&google).await.contains("the issuer's id is not a number"));
}

//! Looking for somebody whose code cannot be read.

use nexus_tests::{Value, json};

use super::{Sold, code, verdict};

#[tokio::test]
async fn somebody_without_a_code_is_found_by_name_phone_or_reference() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    sold.stack
        .execute(&format!(
            "UPDATE users SET name = 'Asha_Rao 100%', phone = '+919812345678' WHERE id = {}",
            sold.buyer.id
        ))
        .await;
    // Others of this event, and the same buyer at another one.
    let other = sold.stack.user().await;
    let (_, payment) = sold.stack.sell(&other, &sold.event, &[("VIP", "A3")]).await;
    assert!(payment.id.starts_with("pay_"));
    let elsewhere = sold.stack.event(&sold.organiser, &[("VIP", 100.0, 5)]).await;
    sold.stack.sell(&sold.buyer, &elsewhere, &[("VIP", "Z1")]).await;

    let (scanner, _) = sold.scanner(None).await;
    let find = async |q: &str| {
        let query = scanner.request(nexus_tests::Method::GET, &sold.path("tickets"));
        nexus_tests::Response::to(query.query(&[("q", q)])).await
    };
    let reference = &sold.booking.reference;
    for q in ["asha", "a_r", "100%", "5678", "98123 45678", reference, &format!("TKT-{reference}")]
    {
        let found = find(q).await.data();
        let labels: Vec<&Value> =
            found.as_array().unwrap().iter().map(|one| &one["seat_label"]).collect();
        assert_eq!(labels, [&json!("A1"), &json!("A2")], "{q}");
    }
    for nothing in ["rao_asha", "%%%", "___", "9999", "BKG-2099-01"] {
        assert_eq!(find(nothing).await.data(), json!([]), "{nothing}");
    }
    // Digit by digit, anybody would find out a whole number.
    for too_little in ["", "as", "123", "45678", "2345678", "BKG-"] {
        assert_eq!(code(&find(too_little).await), (422, "search_too_wide"), "{too_little}");
    }
    let found = find("Asha").await;
    assert!(!found.text.contains("981234"), "no phone is shown: {}", found.text);

    sold.scan(&scanner, &sold.texts[0]).await;
    let found = find("Asha").await.data();
    assert_eq!(
        (&found[0]["status"], found[0]["checked_in_at"].is_string()),
        (&json!("used"), true)
    );
    let by_hand = json!({"ticket_id": found[1]["ticket_id"]});
    let checked = scanner.post(&sold.path("check-ins"), by_hand).await.data();
    assert_eq!(verdict(&checked), ("ok", ""));

    assert_eq!(code(&sold.buyer.get(&sold.path("tickets?q=Asha")).await), (403, "forbidden"));
    // Whoever sells tickets for something that an operator has taken down has no use for names.
    let event = sold.event.id.to_string();
    sold.stack.api_cli_ok(&["take-down", &event, "--reason", "a test"]).await;
    assert_eq!(code(&find("Asha").await), (403, "event_taken_down"));
    let scanned = sold.scan(&scanner, &sold.texts[0]).await;
    assert_eq!(verdict(&scanned), ("already_used", ""));
    assert_eq!(scanned["ticket"]["holder_name"], json!(null));
    let by_hand = json!({"ticket_id": sold.tickets[0]["ticket_id"]});
    let by_hand = sold.organiser.post(&sold.path("check-ins"), by_hand).await;
    assert_eq!(code(&by_hand), (403, "event_taken_down"));
}

//! The keys with which tickets are checked: new ones, retired ones and those that have leaked.

use nexus_tests::{SOON, Value, eventually, json, qr, seen};

use super::{Sold, verdict};

#[tokio::test]
async fn tickets_of_a_retired_key_are_good_until_it_is_revoked_and_then_issued_anew() {
    let mut sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let keys = sold.path("ticket-keys");
    let published = sold.stack.anonymous().get(&keys).await.data();
    let first = published[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (published.as_array().unwrap().len(), &published[0]["algorithm"]),
        (1, &json!("Ed25519"))
    );

    // Every door knows a key before it signs anything.
    let printed = sold.stack.api_cli_ok(&["ticket-keys", "new"]).await;
    let secret = printed.lines().find_map(|line| line.strip_prefix("TICKET_SIGNING_KEY=")).unwrap();
    let published = sold.stack.anonymous().get(&keys).await.data();
    let second = published[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((published.as_array().unwrap().len(), published[1]["id"] == *first), (2, true));
    sold.stack.restart_with(&[("TICKET_SIGNING_KEY", secret)]).await;
    let other = sold.stack.user().await;
    let (booking, _) = sold.stack.sell(&other, &sold.event, &[("VIP", "A3")]).await;
    let newer = sold.stack.until_tickets(&other, &booking, 1).await;
    for text in [&sold.texts[0], &qr::text(&newer[0])] {
        assert_eq!(verdict(&sold.scan(&sold.organiser, text).await), ("ok", ""));
    }

    let listed = sold.stack.api_cli_ok(&["ticket-keys", "list"]).await;
    let ids: Vec<&str> = listed.lines().map(|line| &line[..8]).collect();
    assert_eq!(ids, [&second, &first]);
    let revoked = sold.stack.api_cli_ok(&["ticket-keys", "revoke", &first]).await;
    assert!(revoked.contains("1 ticket(s)"), "those that are used are left alone: {revoked}");
    let refused = sold.scan(&sold.organiser, &sold.texts[1]).await;
    assert_eq!(verdict(&refused), ("forged", "revoked_key"));
    let published = sold.stack.anonymous().get(&keys).await.data();
    assert_eq!((published.as_array().unwrap().len(), published[0]["id"] == *second), (1, true));

    sold.stack
        .execute(
            "UPDATE tickets SET generated_at = now() - interval '1 hour' WHERE qr_nonce IS NULL",
        )
        .await;
    sold.stack.run_now("bookings", "reissue_tickets").await;
    let anew = eventually("the other ticket is issued anew", SOON, async || {
        let tickets = sold.stack.until_tickets(&sold.buyer, &sold.booking, 2).await;
        // Meanwhile it has none.
        let anew = Some(&tickets[1]).filter(|ticket| ticket["qr_code"] != "").map(qr::text);
        anew.filter(|anew| *anew != sold.texts[1]).ok_or_else(|| tickets[1].to_string())
    })
    .await;
    assert_eq!(verdict(&sold.scan(&sold.organiser, &anew).await), ("ok", ""));
}

#[tokio::test]
async fn a_key_that_was_revoked_signs_nothing() {
    let mut sold = Sold::seats(&[("VIP", "A1")]).await;
    let published = sold.stack.anonymous().get(&sold.path("ticket-keys")).await.data();
    let key = published[0]["id"].as_str().unwrap().to_owned();
    sold.stack.api_cli_ok(&["ticket-keys", "revoke", &key]).await;
    let other = sold.stack.user().await;
    let (booking, _) = sold.stack.sell(&other, &sold.event, &[("VIP", "A2")]).await;
    eventually("the job says why it fails", SOON, async || {
        let jobs = "SELECT last_error FROM jobs WHERE kind = 'finalise_booking' AND last_error IS NOT NULL";
        let errors = sold.stack.rows(jobs).await;
        let said = errors.iter().any(|row: &Value| row["last_error"].to_string().contains("revoked"));
        seen(said, errors)
    })
    .await;
    assert_eq!(sold.stack.count(&format!("tickets WHERE booking_id = {}", booking.id)).await, 0);
    // The key is revoked, and its worker started again.
    sold.stack.restart_with(&[]).await;
    assert_eq!(sold.stack.count(&format!("tickets WHERE booking_id = {}", booking.id)).await, 0);
    let again = sold
        .stack
        .api_cli(&["ticket-keys", "add", published[0]["public_key"].as_str().unwrap()])
        .await;
    assert!(!again.status.success());
    let unknown = sold.stack.api_cli(&["ticket-keys", "revoke", "00000000"]).await;
    assert!(!unknown.status.success());
}

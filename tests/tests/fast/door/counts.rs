//! How many are in.

use nexus_tests::{SOON, json};

use super::Sold;

#[tokio::test]
async fn the_organiser_sees_live_how_many_are_in_and_nobody_else_does() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2"), ("Balcony", "B1")]).await;
    let north = sold.gate("North", &[]).await;
    let organiser = sold.stack.socket("the organiser", &sold.organiser).await;
    let buyer = sold.stack.socket("the buyer", &sold.buyer).await;
    buyer.call_ok("join_event", json!(sold.event.id)).await;
    let (scanner, _) = sold.scanner(Some(north)).await;
    // A lock is no sale.
    sold.stack.user().await.lock(&sold.event, "VIP", "A9").await.ok();

    for text in &sold.texts[..2] {
        sold.scan(&scanner, text).await;
    }
    let by_hand = json!({"ticket_id": sold.tickets[2]["ticket_id"]});
    sold.organiser.post(&sold.path("check-ins"), by_hand).await.ok();
    let heard =
        organiser.wait_for("event:checkin-update", |counts| counts["checked_in"] == 3, SOON).await;
    assert_eq!((&heard["sold"], &heard["event_id"]), (&json!(3), &json!(sold.event.id)));
    let types: Vec<_> = heard["seat_types"].as_array().unwrap().iter().collect();
    let of = |name: &str| {
        let one = types.iter().find(|one| one["name"] == name).unwrap();
        (one["sold"].as_i64().unwrap(), one["checked_in"].as_i64().unwrap())
    };
    assert_eq!((of("VIP"), of("Balcony")), ((2, 2), (1, 1)));
    assert_eq!(
        heard["gates"],
        json!([{"gate_id": north, "name": "North", "checked_in": 2}, {"gate_id": null, "name": null, "checked_in": 1}])
    );

    let mut read = scanner.get(&sold.path("check-ins/counts")).await.data();
    read["at"] = heard["at"].clone();
    assert_eq!(read, heard);
    assert!(organiser.received("event:checkin-update").len() <= 3, "each scan or fewer");
    assert!(buyer.received("event:checkin-update").is_empty());
    let others = sold.buyer.get(&sold.path("check-ins/counts")).await;
    others.failed(403, "You are not authorized to let people in to this event");
}

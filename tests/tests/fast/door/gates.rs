//! Gates: each for all seat types, or for some.

use nexus_tests::json;

use super::{Sold, code, verdict};

#[tokio::test]
async fn who_comes_to_another_gate_is_told_where_to_go() {
    let sold = Sold::seats(&[("VIP", "A1"), ("Balcony", "B1")]).await;
    let lounge = sold.gate("Lounge", &["VIP"]).await;
    let stairs = sold.gate("Stairs", &["Balcony"]).await;
    let (at_lounge, _) = sold.scanner(Some(lounge)).await;
    let balcony = sold.tickets.iter().position(|one| one["seat_label"] == "B1").unwrap();

    let wrong = sold.scan(&at_lounge, &sold.texts[balcony]).await;
    assert_eq!(verdict(&wrong), ("wrong_gate", ""));
    assert_eq!(wrong["gates"], json!([{"id": stairs, "name": "Stairs"}]));
    assert_eq!(wrong["message"], "This ticket is for another entrance: Stairs");
    assert_eq!(sold.stack.count("check_ins").await, 0);
    // A scanner is where its key says, whatever it says itself.
    let elsewhere = json!({"text": sold.texts[balcony], "gate_id": stairs});
    let elsewhere = at_lounge.post(&sold.path("check-ins"), elsewhere).await.data();
    assert_eq!(verdict(&elsewhere), ("wrong_gate", ""));

    let (anywhere, _) = sold.scanner(None).await;
    let there = json!({"text": sold.texts[balcony], "gate_id": stairs});
    let checked = anywhere.post(&sold.path("check-ins"), there).await.data();
    assert_eq!(
        (verdict(&checked), &checked["check_in"]["gate"]["name"]),
        (("ok", ""), &json!("Stairs"))
    );
    let nowhere = json!({"text": sold.texts[1 - balcony], "gate_id": 999_999});
    let nowhere = anywhere.post(&sold.path("check-ins"), nowhere).await;
    assert_eq!(code(&nowhere), (404, "gate_not_found"));
}

#[tokio::test]
async fn an_organiser_keeps_gates_and_those_that_were_used_stay() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let gates = sold.path("gates");
    let north = sold.gate("North", &["VIP"]).await;
    let twice = sold.organiser.post(&gates, json!({"name": "North"})).await;
    assert_eq!(code(&twice), (409, "gate_exists"));
    let foreign = sold.stack.event(&sold.organiser, &[("Floor", 1.0, 1)]).await.seat_type("Floor");
    let foreign = json!({"name": "South", "seat_type_ids": [foreign]});
    assert_eq!(code(&sold.organiser.post(&gates, foreign).await), (404, "seat_type_not_found"));
    let odd = json!({"name": "South", "seat_type_ids": "all"});
    assert_eq!(code(&sold.organiser.post(&gates, odd).await), (400, "validation_failed"));

    let gate = format!("{gates}/{north}");
    let renamed = json!({"name": "North entrance", "seat_type_ids": null});
    let renamed = sold.organiser.put(&gate, renamed).await.data();
    let expected = json!({"id": north, "name": "North entrance", "seat_type_ids": null});
    assert_eq!(renamed["gate"], expected);
    assert_eq!(sold.organiser.get(&gates).await.data(), json!([expected]));
    let nothing = sold.organiser.put(&gate, json!({})).await;
    nothing.failed(400, "No fields to update");
    assert_eq!(code(&sold.buyer.delete(&gate).await), (403, "forbidden"));

    let scan = json!({"text": sold.texts[0], "gate_id": north});
    sold.organiser.post(&sold.path("check-ins"), scan).await.ok();
    assert_eq!(code(&sold.organiser.delete(&gate).await), (409, "gate_in_use"));
    let unused = sold.gate("South", &[]).await;
    sold.organiser.delete(&format!("{gates}/{unused}")).await.ok();
    let gone = sold.organiser.delete(&format!("{gates}/{unused}")).await;
    assert_eq!(code(&gone), (404, "gate_not_found"));
}

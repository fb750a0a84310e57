//! Scanners without a network: what they are given before, and what they bring back.

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use futures_util::future::join_all;
use nexus_tests::{Client, SOON, Value, eventually, json, seen};

use super::{Sold, code, scan_id, text, verdict};

/// What is in a bundle, which one of these keys has signed.
fn opened(signed: &Value, keys: &Value) -> Value {
    let bundle = signed["bundle"].as_str().expect("a bundle");
    let bytes =
        |value: &Value| BASE64_STANDARD.decode(value.as_str().expect("text")).expect("base64");
    let is_known =
        |signature: &&Value| keys.as_array().expect("keys").contains(&signature["public_key"]);
    let signature = signed["signatures"].as_array().expect("signatures").iter().find(is_known);
    let signature = signature.expect("a signature by a known key");
    let key =
        VerifyingKey::from_bytes(&bytes(&signature["public_key"]).try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&bytes(&signature["signature"])).unwrap();
    key.verify_strict(bundle.as_bytes(), &signature).expect("a good signature");
    serde_json::from_str(bundle).expect("JSON")
}

async fn bundle(sold: &Sold, who: &Client, key: &Value, since: Option<&Value>) -> Value {
    let since = since.map(|version| format!("?since={}", version.as_str().unwrap()));
    let path = sold.path(&format!("door{}", since.unwrap_or_default()));
    opened(&who.get(&path).await.data(), &key["bundle_keys"])
}

async fn upload(sold: &Sold, who: &Client, scans: &[Value]) -> Vec<Value> {
    let uploaded = who.post(&sold.path("check-ins/upload"), json!({"scans": scans})).await.data();
    uploaded.as_array().expect("a list").clone()
}

fn offline(text: &str) -> Value {
    json!({"scan_id": scan_id(), "text": text, "at": "2026-11-30T12:00:00Z"})
}

#[tokio::test]
async fn a_bundle_is_signed_and_later_tells_what_has_changed() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2"), ("Balcony", "B1")]).await;
    let (scanner, key) = sold.scanner(None).await;
    let whole = bundle(&sold, &scanner, &key, None).await;
    assert_eq!(whole["event"]["id"], sold.event.id);
    assert_eq!(whole["keys"], sold.buyer.get(&sold.path("ticket-keys")).await.data());
    assert_eq!(
        (&whole["void"], &whole["inside"], &whole["since"]),
        (&json!([]), &json!([]), &json!(null))
    );
    assert_eq!(whole["seat_types"], json!([]), "every gate is for all");
    assert!(!whole.to_string().contains(&sold.booking.reference), "no names, no references");

    let other = sold.stack.user().await;
    let (cancelled, _) = sold.stack.sell(&other, &sold.event, &[("VIP", "A9")]).await;
    let ticket = sold.stack.until_tickets(&other, &cancelled, 1).await.remove(0);
    let claim = sold.stack.ticket_code(&ticket);
    other.cancel(&cancelled).await.ok();
    sold.scan(&scanner, &sold.texts[0]).await;
    let undone = sold.scan(&scanner, &sold.texts[1]).await;
    let path = format!("check-ins/{}", undone["check_in"]["scan_id"].as_str().unwrap());
    scanner.delete(&sold.path(&path)).await.ok();

    let id = |n: usize| &sold.tickets[n]["id"];
    let changes = bundle(&sold, &scanner, &key, Some(&whole["version"])).await;
    assert_eq!(changes["since"], whole["version"]);
    assert_eq!(changes["void"], json!([[claim.ticket, claim.nonce.to_string()]]));
    assert_eq!((&changes["inside"], &changes["outside"]), (&json!([id(0)]), &json!([id(1)])));
    assert_eq!(changes["counts"]["checked_in"], 1);
    let nothing = eventually("older transactions are over", SOON, async || {
        let next = bundle(&sold, &scanner, &key, Some(&changes["version"])).await;
        let none = next["void"] == json!([]) && next["inside"] == json!([]);
        seen(none, &next).cloned()
    })
    .await;
    assert_eq!(nothing["counts"]["checked_in"], 1);

    // A gate for some: which tickets these are.
    sold.gate("Stairs", &["Balcony"]).await;
    let whole = bundle(&sold, &scanner, &key, None).await;
    let balcony = sold.event.seat_type("Balcony");
    let types = whole["seat_types"].as_array().unwrap();
    let of_balcony = types.iter().find(|one| one["seat_type_id"] == balcony).unwrap();
    assert_eq!(of_balcony["tickets"], json!([id(2)]));
    assert_eq!(whole["inside"], json!([id(0)]));

    // A version from before a backup was restored.
    let later = bundle(&sold, &scanner, &key, Some(&json!("999999999999"))).await;
    assert_eq!(later["since"], json!(null));
    let odd = scanner.get(&sold.path("door?since=yesterday")).await;
    odd.failed(400, "since must be the version of a bundle");
}

#[tokio::test]
async fn a_bundle_leaves_out_nothing_that_is_committed_while_it_is_read() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let (scanner, key) = sold.scanner(None).await;
    // A check-in that began before the bundle was read, and commits after it.
    let mut slow = sold.stack.db.begin().await.unwrap();
    let insert = "INSERT INTO check_ins (event_id, scan_id, ticket_id, user_id, by_hand)
                  SELECT $1, gen_random_uuid(), min(id), $2, FALSE FROM tickets";
    sqlx::query(insert)
        .bind(sold.event.id as i32)
        .bind(sold.organiser.id as i32)
        .execute(&mut *slow)
        .await
        .unwrap();
    sold.scan(&scanner, &sold.texts[1]).await;
    let whole = bundle(&sold, &scanner, &key, None).await;
    assert_eq!(whole["inside"], json!([sold.tickets[1]["id"]]));
    slow.commit().await.unwrap();
    let changes = bundle(&sold, &scanner, &key, Some(&whole["version"])).await;
    let inside = changes["inside"].as_array().unwrap();
    assert!(inside.contains(&sold.tickets[0]["id"]), "{changes}");
}

#[tokio::test]
async fn a_scanner_goes_on_when_the_key_that_signs_bundles_is_replaced() {
    let mut sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, key) = sold.scanner(None).await;
    let old = sold.stack.env().iter().find(|(name, _)| name == "JWT_SECRET").unwrap().1.clone();
    let new = "9tQ7vXc2Lr5Zk8Wm1Np4Bd6Gf3Hj0Ys-replaced";
    sold.stack.restart_with(&[("JWT_SECRET", new), ("JWT_SECRET_PREVIOUS", &old)]).await;
    let known = bundle(&sold, &scanner, &key, None).await;
    assert_eq!(known["bundle_keys"].as_array().unwrap().len(), 2);
    // By then it knows the new one.
    sold.stack.restart_with(&[("JWT_SECRET", new), ("JWT_SECRET_PREVIOUS", "")]).await;
    bundle(&sold, &scanner, &known, None).await;
    let signed = scanner.get(&sold.path("door")).await.data();
    assert!(!signed.to_string().contains(key["bundle_keys"][0].as_str().unwrap()));
}

#[tokio::test]
async fn scans_are_uploaded_once_and_conflicts_are_reported_with_both() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let (north, south) = (sold.gate("North", &[]).await, sold.gate("South", &[]).await);
    let (first, _) = sold.scanner(Some(north)).await;
    let (second, _) = sold.scanner(Some(south)).await;
    // Both gates are offline, and let the same ticket in.
    let mine = [offline(&sold.texts[0]), offline(&sold.texts[1])];
    let theirs = [offline(&sold.texts[0])];
    let answers = join_all((0..5).map(|_| upload(&sold, &first, &mine))).await;
    for answer in &answers {
        assert_eq!(verdict(&answer[0]["checked"]), ("ok", ""), "{answer:?}");
        assert_eq!(verdict(&answer[1]["checked"]), ("ok", ""));
        assert_eq!(answer[0]["checked"]["check_in"]["at"], "2026-11-30T12:00:00.000Z");
    }
    for _ in 0..2 {
        let answer = upload(&sold, &second, &theirs).await;
        let checked = &answer[0]["checked"];
        assert_eq!(verdict(checked), ("already_used", ""));
        assert_eq!(
            (&checked["is_conflict"], &answer[0]["scan_id"]),
            (&json!(true), &theirs[0]["scan_id"])
        );
    }
    assert_eq!(sold.stack.count("check_ins").await, 3);

    let conflicts = sold.organiser.get(&sold.path("check-ins/conflicts")).await.data();
    assert_eq!(conflicts.as_array().unwrap().len(), 1);
    let conflict = &conflicts[0];
    assert_eq!(
        (&conflict["conflict"], &conflict["ticket"]["seat_label"]),
        (&json!("already_used"), &json!("A1"))
    );
    assert_eq!(
        (&conflict["check_in"]["gate"]["name"], &conflict["counted"]["gate"]["name"]),
        (&json!("South"), &json!("North"))
    );
    let counts = sold.organiser.get(&sold.path("check-ins/counts")).await.data();
    assert_eq!((&counts["checked_in"], &counts["conflicts"]), (&json!(2), &json!(1)));

    // Undone, it is no conflict any more; the one that counts goes on counting.
    let scan = theirs[0]["scan_id"].as_str().unwrap();
    sold.organiser.delete(&sold.path(&format!("check-ins/{scan}"))).await.ok();
    assert_eq!(sold.organiser.get(&sold.path("check-ins/conflicts")).await.data(), json!([]));
    assert_eq!(sold.statuses().await, ["used", "used"]);
}

#[tokio::test]
async fn what_was_void_by_the_time_of_the_upload_is_a_conflict_too() {
    let sold = Sold::seats(&[("VIP", "A1"), ("Balcony", "B1")]).await;
    let other = sold.stack.user().await;
    let (cancelled, _) = sold.stack.sell(&other, &sold.event, &[("VIP", "A9")]).await;
    let void = text(&sold.stack.until_tickets(&other, &cancelled, 1).await[0]);
    other.cancel(&cancelled).await.ok();
    let lounge = sold.gate("Lounge", &["VIP"]).await;
    let (scanner, _) = sold.scanner(Some(lounge)).await;
    let balcony = sold.tickets.iter().position(|one| one["seat_label"] == "B1").unwrap();
    let scans = [
        offline(&void),
        offline(&sold.texts[balcony]),
        offline("NX1-AAAA"),
        offline(&sold.texts[1 - balcony]),
    ];
    let answers = upload(&sold, &scanner, &scans).await;
    let results: Vec<_> = answers.iter().map(|one| verdict(&one["checked"]).0).collect();
    assert_eq!(results, ["void", "wrong_gate", "unknown", "ok"]);
    let conflicts = sold.organiser.get(&sold.path("check-ins/conflicts")).await.data();
    let kinds: Vec<_> = conflicts.as_array().unwrap().iter().map(|one| &one["conflict"]).collect();
    assert_eq!(kinds, [&json!("wrong_gate"), &json!("void")]);

    // Somebody who came in with a key that is revoked before the upload.
    let keys = sold.buyer.get(&sold.path("ticket-keys")).await.data();
    sold.stack.api_cli_ok(&["ticket-keys", "revoke", keys[0]["id"].as_str().unwrap()]).await;
    let late = upload(&sold, &scanner, &[offline(&sold.texts[balcony])]).await;
    assert_eq!(verdict(&late[0]["checked"]), ("void", "revoked_key"));
    // What can never be recorded does not keep the rest from it.
    let twice = [
        json!({"scan_id": scans[3]["scan_id"], "text": sold.texts[balcony], "at": "2026-11-30T12:00:00Z"}),
        offline("hello"),
    ];
    let answers = upload(&sold, &scanner, &twice).await;
    assert_eq!(answers[0]["error"], "scan_id belongs to the scan of another ticket");
    assert_eq!(verdict(&answers[1]["checked"]), ("unknown", ""));

    let path = sold.path("check-ins/upload");
    for (request, message) in [
        (json!({"scans": vec![offline("a"); 201]}), "At most 200 scans can be sent at once"),
        (json!({"scans": "all"}), "scans must be a list"),
        (json!({"scans": [{"text": "a", "at": "2026-11-30"}]}), "scan_id must be a UUID"),
    ] {
        scanner.post(&path, request).await.failed(400, message);
    }
    let odd = [json!({"scan_id": scan_id(), "at": "2026-11-30T12:00:00Z"}), offline("hello")];
    let answers = upload(&sold, &scanner, &odd).await;
    assert_eq!(answers[0]["error"], "Either text or ticket_id is required");
    assert_eq!(verdict(&answers[1]["checked"]), ("unknown", ""));
    // Nor is anybody's clock ahead of ours.
    let future =
        json!({"scan_id": scan_id(), "text": sold.texts[balcony], "at": "2099-01-01T00:00:00Z"});
    upload(&sold, &scanner, &[future]).await;
    assert_eq!(sold.stack.count("check_ins WHERE scanned_at > now()").await, 0);
    assert_eq!(code(&sold.buyer.get(&sold.path("door")).await), (403, "forbidden"));
}

//! Scanners without a network: what they are given before, and what they bring back.

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use futures_util::future::join_all;
use nexus_tests::{Client, Value, json, qr};

use super::{Sold, code, scan_id, verdict};

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
    let next = bundle(&sold, &scanner, &key, Some(&changes["version"])).await;
    assert_eq!((&next["since"], &next["counts"]["checked_in"]), (&changes["version"], &json!(1)));

    // A gate for some, of which a scanner hears in time: which tickets these are.
    sold.gate("Stairs", &["Balcony"]).await;
    let whole = bundle(&sold, &scanner, &key, Some(&next["version"])).await;
    assert_eq!(whole["since"], json!(null), "all anew");
    let balcony = sold.event.seat_type("Balcony");
    let types = whole["seat_types"].as_array().unwrap();
    let of_balcony = types.iter().find(|one| one["seat_type_id"] == balcony).unwrap();
    assert_eq!(of_balcony["tickets"], json!([id(2)]));
    assert_eq!(whole["inside"], json!([id(0)]));

    // A version of another server, or of a time before a backup was restored.
    let later = bundle(&sold, &scanner, &key, Some(&json!("1-99999"))).await;
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

    // The one that counted is undone, by mistake or rightly: somebody is in all the same.
    let scan = mine[0]["scan_id"].as_str().unwrap();
    sold.organiser.delete(&sold.path(&format!("check-ins/{scan}"))).await.ok();
    assert_eq!(sold.organiser.get(&sold.path("check-ins/conflicts")).await.data(), json!([]));
    assert_eq!(sold.statuses().await, ["used", "used"]);
    assert_eq!(code(&sold.buyer.cancel(&sold.booking).await), (409, "tickets_used"));
    let answer = upload(&sold, &second, &theirs).await;
    assert_eq!(verdict(&answer[0]["checked"]), ("ok", ""));
    // Undone, too: nobody is in. What was on its way then keeps no other scan from being recorded.
    let scan = theirs[0]["scan_id"].as_str().unwrap();
    sold.organiser.delete(&sold.path(&format!("check-ins/{scan}"))).await.ok();
    assert_eq!(sold.statuses().await, ["generated", "used"]);
    let answer = upload(&sold, &second, &[theirs[0].clone(), offline(&sold.texts[0])]).await;
    assert!(answer[0]["error"].as_str().unwrap().starts_with("This check-in has been undone"));
    assert_eq!(verdict(&answer[1]["checked"]), ("ok", ""));
}

#[tokio::test]
async fn what_was_void_by_the_time_of_the_upload_is_a_conflict_too() {
    let sold = Sold::seats(&[("VIP", "A1"), ("Balcony", "B1")]).await;
    let other = sold.stack.user().await;
    let (cancelled, _) = sold.stack.sell(&other, &sold.event, &[("VIP", "A9")]).await;
    let void = qr::text(&sold.stack.until_tickets(&other, &cancelled, 1).await[0]);
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
    assert_eq!(results, ["void", "ok", "unknown", "ok"], "whoever came in by a wrong gate is in");
    let conflicts = sold.organiser.get(&sold.path("check-ins/conflicts")).await.data();
    let kinds: Vec<_> = conflicts.as_array().unwrap().iter().map(|one| &one["conflict"]).collect();
    assert_eq!(kinds, [&json!("void")]);
    assert_eq!(sold.statuses().await, ["used", "used"]);
    // Of one ticket no more are kept than anybody looks at.
    for _ in 0..2 {
        let many: Vec<Value> = (0..20).map(|_| offline(&void)).collect();
        let answers = upload(&sold, &scanner, &many).await;
        assert!(answers.iter().all(|one| one["checked"]["is_conflict"] == true), "{answers:?}");
    }
    assert_eq!(sold.stack.count("check_ins WHERE conflict = 'void'").await, 20);

    // Somebody who came in with a key that is revoked before the upload.
    let (late, _) = sold.stack.sell(&sold.buyer, &sold.event, &[("VIP", "A8")]).await;
    let late = qr::text(&sold.stack.until_tickets(&sold.buyer, &late, 1).await[0]);
    let keys = sold.buyer.get(&sold.path("ticket-keys")).await.data();
    sold.stack.api_cli_ok(&["ticket-keys", "revoke", keys[0]["id"].as_str().unwrap()]).await;
    let answer = upload(&sold, &scanner, &[offline(&late)]).await;
    assert_eq!(verdict(&answer[0]["checked"]), ("forged", "revoked_key"));
    assert_eq!(answer[0]["checked"]["is_conflict"], true);
    // What can never be recorded does not keep the rest from it; nor does a gate that is gone keep
    // anybody out who is in.
    let twice = [
        json!({"scan_id": scans[3]["scan_id"], "text": sold.texts[balcony], "at": "2026-11-30T12:00:00Z"}),
        offline("hello"),
    ];
    let answers = upload(&sold, &scanner, &twice).await;
    assert_eq!(answers[0]["error"], "scan_id belongs to another scan");
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

#[tokio::test]
async fn whoever_is_in_is_recorded_though_the_gate_is_gone() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let gate = sold.gate("North", &[]).await;
    let mut scan = offline(&sold.texts[0]);
    scan["gate_id"] = json!(gate);
    sold.organiser.delete(&sold.path(&format!("gates/{gate}"))).await.ok();
    let answer = upload(&sold, &scanner, &[scan]).await;
    assert_eq!(verdict(&answer[0]["checked"]), ("ok", ""));
    assert_eq!(sold.statuses().await, ["used"]);
}

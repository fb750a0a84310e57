//! Who may let people in: the organiser, accounts that they have named, and devices with a door key.

use nexus_tests::{Method, Response, SOON, eventually, json, seen};

use super::{Sold, code, verdict};

#[tokio::test]
async fn a_door_key_opens_the_door_of_its_event_and_nothing_else() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, key) = sold.scanner(None).await;
    let other = sold.stack.event(&sold.organiser, &[("VIP", 1.0, 1)]).await;
    let path = format!("/events/{}/check-ins", other.id);
    let elsewhere = scanner.post(&path, json!({"text": sold.texts[0]})).await;
    assert_eq!(code(&elsewhere), (403, "forbidden"));
    let draft = {
        let mut request = nexus_tests::shop::event_request(&[("VIP", 1.0, 1)]);
        request["status"] = json!("draft");
        sold.organiser.post("/events/create", request).await.data()
    };
    let path = format!("/events/{}/check-ins/counts", draft["event"]["id"]);
    assert_eq!(code(&scanner.get(&path).await), (404, "event_not_found"));

    for path in ["/auth/me", "/bookings/my-bookings", "/auth/sessions"] {
        assert_eq!(code(&scanner.get(path).await), (401, "token_invalid"), "{path}");
    }
    for path in ["staff", "door-keys"] {
        assert_eq!(code(&scanner.get(&sold.path(path)).await), (401, "token_invalid"), "{path}");
    }
    let event = format!("/events/{}", sold.event.id);
    let changed = scanner.put(&event, json!({"name": "Mine"})).await;
    assert_eq!(code(&changed), (401, "token_invalid"));
    let gate = scanner.post(&sold.path("gates"), json!({"name": "Mine"})).await;
    assert_eq!(code(&gate), (401, "token_invalid"));
    // Over a socket it is nobody.
    let socket = sold.stack.socket("the scanner", &scanner).await;
    socket.emit("lock_seat", &[json!({"eventId": sold.event.id})]).await;
    let refused = socket.wait_for_any("error").await;
    assert_eq!(refused["message"], "Authentication required");

    assert_eq!(verdict(&sold.scan(&scanner, &sold.texts[0]).await), ("ok", ""));
    let revoked = sold.organiser.delete(&sold.path(&format!("door-keys/{}", key["id"]))).await;
    assert!(revoked.data()["door_key"]["revoked_at"].is_string());
    let refused = scanner.get(&sold.path("check-ins/counts")).await;
    assert_eq!(code(&refused), (401, "token_invalid"));
}

#[tokio::test]
async fn a_door_key_is_shown_once_and_kept_as_a_hash() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (_, key) = sold.scanner(None).await;
    let token = key["token"].as_str().unwrap();
    let listed = sold.organiser.get(&sold.path("door-keys")).await;
    assert_eq!(listed.body["data"][0]["id"], key["id"]);
    assert!(!listed.text.contains(token));
    assert_eq!(listed.headers["cache-control"], "no-store");
    let kept = sold.stack.rows("SELECT to_jsonb(k)::text AS row FROM door_keys k").await;
    assert!(!kept[0]["row"].as_str().unwrap().contains(token));
    let logged = sold.stack.logs().into_values().any(|log| log.contains(token));
    assert!(!logged, "a key is in a log");
}

#[tokio::test]
async fn a_door_key_ends_two_days_after_the_event() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let (scanner, _) = sold.scanner(None).await;
    let ended = |days: u32| {
        format!(
            "UPDATE events SET start_date = now() - interval '9 days', end_date = now() - interval '{days} days'"
        )
    };
    sold.stack.execute(&ended(1)).await;
    scanner.get(&sold.path("check-ins/counts")).await.ok();
    sold.stack.execute(&ended(2)).await;
    let refused = scanner.get(&sold.path("check-ins/counts")).await;
    assert_eq!(code(&refused), (401, "token_invalid"));
}

#[tokio::test]
async fn staff_let_people_in_and_change_nothing() {
    let sold = Sold::seats(&[("VIP", "A1"), ("VIP", "A2")]).await;
    let helper = sold.stack.user().await;
    let email = sold.stack.row(&format!("SELECT email FROM users WHERE id = {}", helper.id)).await;
    let staff = sold.path("staff");
    let stranger = helper.get(&sold.path("check-ins/counts")).await;
    stranger.failed(403, "You are not authorized to let people in to this event");

    // A claimed address is anybody's.
    sold.stack.execute(&format!("UPDATE users SET claimed_email = email, email = NULL, email_verified_at = NULL WHERE id = {}", helper.id)).await;
    let unproved = sold.organiser.post(&staff, json!({"account": email["email"]})).await;
    assert_eq!(code(&unproved), (404, "account_not_found"));
    sold.stack.execute(&format!("UPDATE users SET email = claimed_email, claimed_email = NULL, email_verified_at = now() WHERE id = {}", helper.id)).await;
    let refused = helper.post(&staff, json!({"account": email["email"]})).await;
    refused.failed(403, "You are not authorized to manage the staff of this event");
    for _ in 0..2 {
        let added = sold.organiser.post(&staff, json!({"account": email["email"]})).await.data();
        let staff = &added["staff"];
        assert_eq!((&staff["user_id"], &staff["account"]), (&json!(helper.id), &email["email"]));
        assert_eq!(staff.get("name"), None, "nothing that the organiser did not know");
    }
    assert_eq!(sold.organiser.get(&staff).await.data().as_array().unwrap().len(), 1);

    assert_eq!(verdict(&sold.scan(&helper, &sold.texts[0]).await), ("ok", ""));
    helper.get(&sold.path("gates")).await.ok();
    for path in ["staff", "door-keys"] {
        assert_eq!(code(&helper.get(&sold.path(path)).await), (403, "forbidden"));
    }
    let event = format!("/events/{}", sold.event.id);
    assert_eq!(code(&helper.put(&event, json!({"name": "Mine"})).await), (403, "forbidden"));

    sold.organiser.delete(&format!("{staff}/{}", helper.id)).await.ok();
    let removed = helper.post(&sold.path("check-ins"), json!({"text": sold.texts[1]})).await;
    assert_eq!(code(&removed), (403, "forbidden"));
    let again = sold.organiser.delete(&format!("{staff}/{}", helper.id)).await;
    assert_eq!(code(&again), (404, "staff_not_found"));
    eventually("the audit log has both", SOON, async || {
        let count = "audit_log WHERE action IN ('staff_added', 'staff_removed')";
        let count = sold.stack.count(count).await;
        seen(count == 3, count)
    })
    .await;
}

#[tokio::test]
async fn a_scanner_asks_only_so_often() {
    let sold = {
        let stack = nexus_tests::Stack::builder().workers(["payments", "bookings"]);
        let stack = stack.env("RATE_LIMIT_DOOR", "3/1m").env("RATE_LIMIT_DOOR_SEARCH", "1/1m");
        Sold::on(stack.start().await, &[("VIP", "A1")]).await
    };
    let (scanner, _) = sold.scanner(None).await;
    let (other, _) = sold.scanner(None).await;
    let search = sold.path("tickets?q=BKG-2026-11");
    scanner.get(&search).await.ok();
    assert_eq!(code(&scanner.get(&search).await), (429, "rate_limited"));
    let counts = sold.path("check-ins/counts");
    scanner.get(&counts).await.ok();
    assert_eq!(code(&scanner.get(&counts).await), (429, "rate_limited"));
    other.get(&counts).await.ok();
}

#[tokio::test]
async fn everybody_at_the_door_may_do_what_the_documents_say() {
    let sold = Sold::seats(&[("VIP", "A1")]).await;
    let staff = sold.stack.user().await;
    sold.stack
        .execute(&format!(
            "INSERT INTO event_staff (event_id, user_id, named_as) VALUES ({}, {}, 'helper')",
            sold.event.id, staff.id
        ))
        .await;
    let (scanner, _) = sold.scanner(None).await;
    let (revoked, key) = sold.scanner(None).await;
    sold.organiser.delete(&sold.path(&format!("door-keys/{}", key["id"]))).await.ok();
    let elsewhere = {
        let other = sold.stack.event(&sold.organiser, &[("VIP", 1.0, 1)]).await;
        let path = format!("/events/{}/door-keys", other.id);
        let key = sold.organiser.post(&path, json!({"name": "elsewhere"})).await.data();
        sold.stack.anonymous().with_token(0, key["token"].as_str().unwrap())
    };
    let gate = sold.gate("North", &[]).await;
    let event = format!("/events/{}", sold.event.id);
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let mine = sold.scan(&staff, &sold.texts[0]).await["check_in"]["scan_id"].clone();
    let undo = format!("check-ins/{}", mine.as_str().unwrap());
    let asked = [
        // Last by staff, who undo it.
        (&delete, undo.as_str(), json!(null), [200, 403, 403, 401]),
        (&delete, "staff/1", json!(null), [403, 401, 401, 401]),
        (&delete, "door-keys/1", json!(null), [403, 401, 401, 401]),
        (&post, "check-ins", json!({"text": "no ticket"}), [200, 200, 403, 401]),
        (&get, "tickets?q=Asha", json!(null), [200, 200, 403, 401]),
        (&get, "check-ins/counts", json!(null), [200, 200, 403, 401]),
        (&get, "gates", json!(null), [200, 200, 403, 401]),
        (&get, "door", json!(null), [200, 200, 403, 401]),
        (&get, "check-ins/conflicts", json!(null), [200, 200, 403, 401]),
        (&post, "check-ins/upload", json!({"scans": []}), [200, 200, 403, 401]),
        (&get, "staff", json!(null), [403, 401, 401, 401]),
        (&get, "door-keys", json!(null), [403, 401, 401, 401]),
        (&post, "staff", json!({"account": "asha@nexus.example"}), [403, 401, 401, 401]),
        (&post, "door-keys", json!({"name": "mine"}), [403, 401, 401, 401]),
        (&post, "gates", json!({"name": "mine"}), [403, 401, 401, 401]),
        (&put, &format!("gates/{gate}"), json!({"name": "mine"}), [403, 401, 401, 401]),
        (&delete, &format!("gates/{gate}"), json!(null), [403, 401, 401, 401]),
        (&put, "", json!({"name": "mine"}), [403, 401, 401, 401]),
        (&delete, "", json!(null), [403, 401, 401, 401]),
    ];
    for (method, path, body, expected) in asked {
        let path = format!("{event}/{path}");
        let keepers = [&staff, &scanner, &elsewhere, &revoked].into_iter().zip(expected);
        for (who, expected) in keepers.rev() {
            let request = who.request(method.clone(), path.trim_end_matches('/'));
            let request = if body.is_null() { request } else { request.json(&body) };
            let response = Response::to(request).await;
            assert_eq!(response.status, expected, "{method} {path}: {}", response.text);
        }
    }
}

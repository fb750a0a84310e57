//! Users keep the accounts and sessions that they had with the Node service
//! (docs/contract.md#existing-data).

use nexus_tests::{Client, LegacyShop, Response, SOON, Stack, eventually, json, seen};

async fn open() -> LegacyShop {
    LegacyShop::open(Stack::builder().workers([])).await
}

async fn log_in(anonymous: &Client, email: &str, password: &str) -> Response {
    anonymous.post("/auth/login", json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn old_passwords_log_in_and_their_hashes_become_argon2id() {
    let (mut stack, node) = Stack::builder().workers([]).without_limits().legacy().await;
    let long = format!("Aa1!{}", "long".repeat(20));
    let passwords = ["Passw0rd!", "Пароль-密码-1aA!🔑", &long];
    for (n, password) in passwords.iter().enumerate() {
        node.register(&format!("user-{n}@nexus.example"), password).await;
    }
    stack.cut_over().await;
    let anonymous = stack.anonymous();
    for (n, password) in passwords.iter().enumerate() {
        let email = format!("user-{n}@nexus.example");
        let hash = async || {
            let row =
                stack.row(&format!("SELECT password FROM users WHERE email = '{email}'")).await;
            row["password"].as_str().unwrap().to_owned()
        };
        let wrong = password.replacen('a', "b", 1);
        let old = hash().await;
        assert!(old.starts_with("$2b$10$"), "{old}");
        log_in(&anonymous, &email, &wrong).await.failed(401, "Invalid email or password");
        assert_eq!(hash().await, old, "a wrong password changes nothing");

        let session = log_in(&anonymous, &email, password).await.data();
        assert_eq!(session["message"], "Login successful");
        let new = hash().await;
        assert!(new.starts_with("$argon2id$"), "{new}");
        log_in(&anonymous, &email, password).await.ok();
        log_in(&anonymous, &email, &wrong).await.failed(401, "Invalid email or password");
        assert_eq!(hash().await, new);
    }
}

#[tokio::test]
async fn who_has_only_a_phone_logs_in_with_a_one_time_password() {
    const PHONE: &str = "+919811111111";
    let (mut stack, node) = Stack::builder().workers(["otp"]).legacy().await;
    let user = node.call_ok("register", json!({"phone": PHONE})).await;
    stack.cut_over().await;
    let anonymous = stack.anonymous();
    let password = json!({"phone": PHONE, "password": "Passw0rd!"});
    anonymous.post("/auth/login", password).await.failed(401, "Invalid email or password");
    anonymous.post("/auth/send-otp", json!({"phone": PHONE})).await.ok();
    let sent = eventually("the code is sent", SOON, async || {
        stack.providers.otp(PHONE).ok_or("none".into())
    });
    let session = anonymous
        .post("/auth/verify-otp", json!({"phone": PHONE, "otp": sent.await.code}))
        .await
        .data();
    assert_eq!(
        (&session["user"]["id"], &session["isNewUser"]),
        (&user, &json!(false)),
        "{session}"
    );
}

#[tokio::test]
async fn access_tokens_go_on_over_rest_and_socket_io() {
    let LegacyShop { mut stack, node, event, buyers: [buyer, _], .. } = open().await;
    let (access, _) = node.login(buyer).await;
    stack.cut_over().await;
    let buyer = stack.anonymous().with_token(buyer, access);
    assert_eq!(buyer.get("/auth/me").await.data()["user"]["id"], buyer.id);
    let socket = stack.socket("the buyer", &buyer).await;
    let request =
        json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": "A1"});
    assert_eq!(socket.call_ok("lock_seat", request).await["lock"]["user_id"], buyer.id);
}

#[tokio::test]
async fn refresh_tokens_go_on_until_they_are_logged_out() {
    let LegacyShop { mut stack, node, buyers: [buyer, _], .. } = open().await;
    let (access, refresh) = node.login(buyer).await;
    // Two logins within a second had the same tokens (docs/contract.md#change-16).
    stack.execute("INSERT INTO refresh_tokens (user_id, token, expires_at) SELECT user_id, token, expires_at FROM refresh_tokens").await;
    stack.cut_over().await;
    let buyer = stack.anonymous().with_token(buyer, access);
    let request = json!({"refreshToken": refresh});
    let bought = buyer.post("/auth/refresh-token", request.clone()).await.data();
    let again = buyer.clone().with_token(buyer.id, bought["accessToken"].as_str().unwrap());
    again.get("/auth/me").await.ok();
    again.post("/auth/logout", request.clone()).await.ok();
    buyer
        .post("/auth/refresh-token", request.clone())
        .await
        .failed(401, "Refresh token has been revoked");
    stack.redis_command("FLUSHALL").await;
    buyer.post("/auth/refresh-token", request).await.failed(401, "Refresh token has been revoked");
}

#[tokio::test]
async fn tokens_that_were_logged_out_stay_so() {
    let LegacyShop { mut stack, node, buyers: [buyer, _], .. } = open().await;
    let (access, refresh) = node.login(buyer).await;
    let session = json!({"userId": buyer, "accessToken": access, "refreshToken": refresh});
    node.call_ok("logout", session).await;
    stack.cut_over().await;
    let buyer = stack.anonymous().with_token(buyer, access);
    let request = json!({"refreshToken": refresh});
    for redis in ["knows", "has forgotten"] {
        eprintln!("Redis {redis} them");
        buyer.get("/auth/me").await.failed(401, "Token has been revoked");
        buyer
            .post("/auth/refresh-token", request.clone())
            .await
            .failed(401, "Refresh token has been revoked");
        let socket = stack.socket("the buyer", &buyer).await;
        socket.emit("lock_seat", &[json!({})]).await;
        assert_eq!(
            socket.wait_for_any("error").await,
            json!({"message": "Authentication required"})
        );
        stack.redis_command("FLUSHALL").await;
    }
}

#[tokio::test]
async fn tokens_are_hashed_once_the_node_service_has_ended_and_go_on() {
    let LegacyShop { mut stack, node, buyers: [first, second], .. } =
        LegacyShop::open(Stack::builder().workers(["cleanup"])).await;
    let (access, refresh) = node.login(first).await;
    let (ended_access, ended_refresh) = node.login(second).await;
    let session =
        json!({"userId": second, "accessToken": ended_access, "refreshToken": ended_refresh});
    node.call_ok("logout", session).await;
    drop(node);
    stack.cut_over().await;

    eventually("every token is hashed", SOON, async || {
        let raw = stack
            .count("(SELECT token FROM refresh_tokens UNION ALL SELECT token FROM blacklisted_tokens) kept WHERE token NOT LIKE 'sha256:%'")
            .await;
        let keys = stack.redis_keys().await;
        let known: Vec<_> = keys.iter().filter(|key| key.starts_with("refresh_token:")).collect();
        seen(raw == 0 && known.is_empty(), (raw, known)).map(drop)
    })
    .await;
    assert_eq!(stack.count("blacklisted_tokens").await, 2);
    stack.redis_command("FLUSHALL").await;

    let user = stack.anonymous().with_token(first, access);
    user.get("/auth/me").await.ok();
    let request = json!({"refreshToken": refresh});
    user.post("/auth/refresh-token", request.clone()).await.ok();
    user.post("/auth/logout", request.clone()).await.ok();
    user.post("/auth/refresh-token", request).await.failed(401, "Refresh token has been revoked");

    let ended = stack.anonymous().with_token(second, ended_access);
    ended.get("/auth/me").await.failed(401, "Token has been revoked");
    let request = json!({"refreshToken": ended_refresh});
    ended.post("/auth/refresh-token", request).await.failed(401, "Refresh token has been revoked");
}

#[tokio::test]
async fn sessions_go_on_when_the_way_of_keeping_them_changes() {
    let stack = Stack::builder().workers([]).env("SIDE_BY_SIDE", "on").start().await;
    let account = json!({"email": "asha@nexus.example", "password": "Passw0rd!"});
    let anonymous = stack.anonymous();
    let user = anonymous
        .clone()
        .logged_in(&anonymous.post("/auth/register", account.clone()).await.data());
    let ended = anonymous.clone().logged_in(&anonymous.post("/auth/login", account).await.data());
    ended.post("/auth/logout", json!({"refreshToken": ended.refresh_token})).await.ok();
    assert_eq!(
        stack.count("refresh_tokens WHERE token LIKE 'ey%'").await,
        2,
        "as the Node service wants them"
    );

    // As another process, with the other setting, would have stored them.
    stack.redis_command("FLUSHALL").await;
    for table in ["refresh_tokens", "blacklisted_tokens"] {
        let hash = "'sha256:' || encode(sha256(convert_to(token, 'UTF8')), 'hex')";
        stack.execute(&format!("UPDATE {table} SET token = {hash}")).await;
    }
    user.post("/auth/refresh-token", json!({"refreshToken": user.refresh_token})).await.ok();
    ended.get("/auth/me").await.failed(401, "Token has been revoked");
    let request = json!({"refreshToken": ended.refresh_token});
    ended.post("/auth/refresh-token", request).await.failed(401, "Refresh token has been revoked");
}

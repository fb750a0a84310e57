//! Whose an e-mail address is, and what is the same for phone numbers: who has only claimed one blocks
//! nobody, and gets nothing with it; who has proved it is its only owner. What an account becomes
//! when its phone is proved is in [`phones`](super::phones).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use nexus_tests::settings::PUBLIC_URL;
use nexus_tests::shop::PASSWORD;
use nexus_tests::{Client, Method, Response, SOON, Stack, Value, eventually, json, seen};

pub(super) const PHONE: &str = "+919812345678";
pub(super) const EMAIL: &str = "asha@nexus.example";
pub(super) const EXISTS: &str = "User with this email, username or phone already exists";
pub(super) const WRONG: &str = "Invalid email or password";
pub(super) const VERIFY: &str = "verify your e-mail";

pub(super) async fn register(stack: &Stack, account: Value) -> Client {
    let anonymous = stack.anonymous();
    let data = anonymous.post("/auth/register", account).await.data();
    anonymous.logged_in(&data)
}

pub(super) async fn log_in(stack: &Stack, field: &str, login: &str, password: &str) -> Response {
    stack.anonymous().post("/auth/login", json!({field: login, "password": password})).await
}

/// The page to which the link in the newest mail leads, at this stack's API.
async fn link(stack: &Stack, to: &str, subject: &str) -> String {
    let mail = stack.mailed(to, subject).await;
    let start = mail.text.find(PUBLIC_URL).unwrap_or_else(|| panic!("{}", mail.text));
    let link = mail.text[start..].split_whitespace().next().unwrap();
    assert!(mail.html.contains(link), "{}", mail.html);
    link.replace(PUBLIC_URL, "")
}

pub(super) async fn verify_email(stack: &Stack, user: &Client, email: &str) {
    let code = stack.mailed_code(email).await;
    let verified = user.post("/auth/verify-email", json!({"code": code})).await.data();
    assert_eq!(verified, json!({"message": "E-mail address verified", "email": email}));
}

/// Waits until no job of that kind is left to do.
async fn until_sent(stack: &Stack, kind: &str) {
    eventually(&format!("{kind} is done"), SOON, async || {
        let left = stack.count(&format!("jobs WHERE kind = '{kind}' AND state <> 'done'")).await;
        let done = stack.count(&format!("jobs WHERE kind = '{kind}'")).await;
        seen(left == 0 && done > 0, (left, done)).map(drop)
    })
    .await;
}

#[tokio::test]
async fn an_address_that_somebody_has_only_claimed_is_free_for_its_owner() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let claim = |password: &str| json!({"email": EMAIL, "phone": PHONE, "password": password});
    let stranger = register(&stack, claim(PASSWORD)).await;
    let owner = register(&stack, claim("An0ther-horse")).await;
    // Until one of them proves it, each is found by the password.
    for field in [("email", EMAIL), ("phone", PHONE)] {
        for (password, user) in [(PASSWORD, &stranger), ("An0ther-horse", &owner)] {
            let data = log_in(&stack, field.0, field.1, password).await.data();
            assert_eq!(data["user"]["id"], user.id);
            assert_eq!(
                (&data["user"]["email"], &data["user"]["phone"]),
                (&json!(EMAIL), &json!(PHONE))
            );
        }
        log_in(&stack, field.0, field.1, "Wr0ng-horse").await.failed(401, WRONG);
    }

    eventually("two mails", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 2, mails).map(drop)
    })
    .await;
    owner.post("/auth/verify-email/resend", json!({})).await.ok();
    until_sent(&stack, "verify_email").await;
    verify_email(&stack, &owner, EMAIL).await;
    log_in(&stack, "email", EMAIL, PASSWORD).await.failed(401, WRONG);
    assert_eq!(stranger.get("/auth/me").await.data()["user"]["email"], Value::Null);
    let me = owner.get("/auth/me").await.data();
    assert_eq!((&me["user"]["email"], &me["email_verified"]), (&json!(EMAIL), &json!(true)));
    let third = stack.anonymous().post("/auth/register", claim("Th1rd-horse")).await;
    third.failed(409, EXISTS);
}

#[tokio::test]
async fn who_registers_twice_has_one_account() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let account = json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD});
    let anonymous = stack.anonymous();
    let clicks = (0..6).map(|_| anonymous.post("/auth/register", account.clone()));
    let statuses: Vec<u16> =
        join_all(clicks).await.iter().map(|response| response.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    anonymous.post("/auth/register", account).await.failed(409, EXISTS);
    let by_phone = json!({"phone": PHONE, "password": PASSWORD});
    anonymous.post("/auth/register", by_phone).await.failed(409, EXISTS);
    assert_eq!(stack.count("users").await, 1);
}

#[tokio::test]
async fn two_who_prove_one_address_at_once_are_one_owner() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let mut users = Vec::new();
    for password in ["F1rst-horse", "Sec0nd-horse", "Th1rd-horse"] {
        users.push(register(&stack, json!({"email": EMAIL, "password": password})).await);
    }
    let sent = "UPDATE email_proofs SET code_hash = sha256('12345678')";
    assert_eq!(stack.execute(sent).await, 3);
    let proofs =
        users.iter().map(|user| user.post("/auth/verify-email", json!({"code": "12345678"})));
    let statuses: BTreeSet<u16> =
        join_all(proofs).await.iter().map(|response| response.status).collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409 | 410)), "{statuses:?}");
    assert_eq!(stack.count(&format!("users WHERE email = '{EMAIL}'")).await, 1);
    assert_eq!(stack.count("users WHERE claimed_email IS NOT NULL").await, 0);
    assert_eq!(stack.count("email_proofs").await, 0);
}

#[tokio::test]
async fn tickets_wait_in_the_account_until_a_contact_is_proved() {
    let stack = Stack::builder().without_limits().start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 0.0, 50)]).await;
    let account = json!({"email": EMAIL, "phone": PHONE, "password": PASSWORD});
    let buyer = register(&stack, account).await;
    let booking = buyer.lock_and_book(&event, &[("VIP", "A1")]).await;
    stack.until_tickets(&buyer, &booking, 1).await;
    stack.until_idle(&["notifications"]).await;
    let mails = stack.providers.mail();
    assert!(mails.iter().all(|mail| mail.subject.contains(VERIFY)), "{mails:?}");
    assert!(stack.providers.sms().is_empty());

    verify_email(&stack, &buyer, EMAIL).await;
    let mail = stack.mailed(EMAIL, "Your tickets for").await;
    assert!(mail.text.contains(&booking.reference), "{}", mail.text);

    let otp = stack.otp(PHONE).await;
    buyer.post("/auth/change-phone", json!({"phone": PHONE, "otp": otp})).await.ok();
    eventually("an SMS", SOON, async || {
        let sms = stack.providers.sms();
        seen(sms.iter().any(|sms| sms.body.contains(&booking.reference)), sms).map(drop)
    })
    .await;
    stack.until_idle(&["notifications"]).await;
    let tickets = stack.providers.mail();
    let tickets = tickets.iter().filter(|mail| mail.subject.contains("Your tickets"));
    assert_eq!(tickets.count(), 1, "they are mailed once");
}

#[tokio::test]
async fn the_mails_link_needs_the_accounts_password_and_works_once() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let page = link(&stack, EMAIL, VERIFY).await;
    let (path, token) = page.split_once("?token=").unwrap();
    let opened = stack.anonymous().get_root(&page).await;
    assert_eq!(opened.status, 200);
    let submit = async |password: &str| {
        let request = stack.anonymous().request_root(Method::POST, path);
        let response =
            request.form(&[("token", token), ("password", password)]).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) = submit("Wr0ng-horse").await;
    assert!(status == 403 && text.contains("not the account's password"), "{status} {text}");
    assert_eq!(user.get("/auth/me").await.data()["email_verified"], false);
    let (status, text) = submit(PASSWORD).await;
    assert!(status == 200 && text.contains("is verified"), "{status} {text}");
    assert_eq!(user.get("/auth/me").await.data()["email_verified"], true);
    let (status, text) = submit(PASSWORD).await;
    assert!(status == 410 && text.contains("expired or has been used"), "{status} {text}");
    let token = json!({"token": token, "password": PASSWORD});
    let again = stack.anonymous().post("/auth/verify-email", token).await;
    again.failed(410, "This link has expired or has been used. Please request a new one.");
}

#[tokio::test]
async fn a_frontend_of_its_own_proves_with_the_links_token() {
    let stack = Stack::builder().workers(["notifications"]).start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let page = link(&stack, EMAIL, VERIFY).await;
    let token = page.split_once("?token=").unwrap().1;
    let verify = async |password: &str| {
        let proof = json!({"token": token, "password": password});
        stack.anonymous().post("/auth/verify-email", proof).await
    };
    verify("Wr0ng-horse").await.failed(403, "Current password is incorrect");
    verify(PASSWORD).await.ok();
    assert_eq!(user.get("/auth/me").await.data()["email_verified"], true);
}

#[tokio::test]
async fn five_codes_are_tried_and_a_new_mail_ends_the_old_ones_code() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let verify = async |code: &str| user.post("/auth/verify-email", json!({"code": code})).await;
    let first = stack.mailed_code(EMAIL).await;
    let wrong = if first == "00000000" { "00000001" } else { "00000000" };
    for _ in 0..5 {
        verify(wrong).await.failed(401, "Invalid OTP. Please try again.");
    }
    let exhausted = "Maximum verification attempts reached. Please request a new OTP.";
    verify(&first).await.failed(429, exhausted);
    let sent = user.post("/auth/verify-email/resend", json!({})).await.data();
    assert_eq!(sent, json!({"message": "Verification mail sent", "pending_email": EMAIL}));
    eventually("another mail", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 2, mails).map(drop)
    })
    .await;
    let second = stack.mailed_code(EMAIL).await;
    if first != second {
        verify(&first).await.failed(401, "Invalid OTP. Please try again.");
    }
    verify(&second).await.ok();
    let done = user.post("/auth/verify-email/resend", json!({})).await;
    done.failed(409, "Your e-mail address is verified already");
    // Nobody else's code counts.
    stack
        .anonymous()
        .post("/auth/verify-email", json!({"code": second}))
        .await
        .failed(401, "Access token is required");
}

#[tokio::test]
async fn a_proved_address_sets_another_password_and_a_claimed_one_does_not() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let forgot = async || {
        let told = stack.anonymous().post("/auth/forgot-password", json!({"email": EMAIL})).await;
        let message = "If an account has verified this address, a mail with a link is on its way.";
        assert_eq!(told.data(), json!({"message": message}));
        until_sent(&stack, "recover_password").await;
    };
    forgot().await;
    verify_email(&stack, &user, EMAIL).await;
    assert_eq!(stack.providers.mail().len(), 1, "nothing to an address that is not proved");

    forgot().await;
    let page = link(&stack, EMAIL, "another password").await;
    let token = page.split_once("?token=").unwrap().1;
    let recover = async |password: &str| {
        let wanted = json!({"token": token, "newPassword": password});
        stack.anonymous().post("/auth/recover-password", wanted).await
    };
    recover("short").await.failed(400, "Password must be at least 8 characters long");
    recover("An0ther-horse").await.ok();
    user.has_ended().await;
    log_in(&stack, "email", EMAIL, "An0ther-horse").await.ok();
    log_in(&stack, "email", EMAIL, PASSWORD).await.failed(401, WRONG);
    let used = "This link has expired or has been used. Please request a new one.";
    recover("Th1rd-horse!").await.failed(410, used);
    // A link that proves an address sets no password.
    stack.execute("UPDATE users SET email_verified_at = NULL").await;
    let again =
        stack.anonymous().logged_in(&log_in(&stack, "email", EMAIL, "An0ther-horse").await.data());
    again.post("/auth/verify-email/resend", json!({})).await.ok();
    eventually("another mail", SOON, async || {
        let mails = stack.providers.mail().len();
        seen(mails == 3, mails).map(drop)
    })
    .await;
    let page = link(&stack, EMAIL, VERIFY).await;
    let other = json!({"token": page.split_once("?token=").unwrap().1, "newPassword": PASSWORD});
    stack.anonymous().post("/auth/recover-password", other).await.failed(410, used);
}

#[tokio::test]
async fn a_link_to_set_a_password_is_worth_nothing_once_another_is_set() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    stack.prove_emails().await;
    stack.anonymous().post("/auth/forgot-password", json!({"email": EMAIL})).await.ok();
    let page = link(&stack, EMAIL, "another password").await;
    let change = json!({"currentPassword": PASSWORD, "newPassword": "An0ther-horse"});
    user.post("/auth/change-password", change).await.ok();
    let (_, token) = page.split_once("?token=").unwrap();
    let wanted = json!({"token": token, "newPassword": "Th1rd-horse!"});
    let used = "This link has expired or has been used. Please request a new one.";
    stack.anonymous().post("/auth/recover-password", wanted).await.failed(410, used);
    log_in(&stack, "email", EMAIL, "An0ther-horse").await.ok();
}

#[tokio::test]
async fn the_recovery_page_sets_another_password() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    stack.prove_emails().await;
    stack.anonymous().post("/auth/forgot-password", json!({"email": EMAIL})).await.ok();
    let page = link(&stack, EMAIL, "another password").await;
    let (path, token) = page.split_once("?token=").unwrap();
    assert_eq!(stack.anonymous().get_root(&page).await.status, 200);
    for (password, expected) in [("short", 400), ("An0ther-horse", 200), ("An0ther-horse", 410)] {
        let request = stack.anonymous().request_root(Method::POST, path);
        let response = request.form(&[("token", token), ("password", password)]).send().await;
        assert_eq!(response.unwrap().status(), expected);
    }
    log_in(&stack, "email", EMAIL, "An0ther-horse").await.ok();
}

#[tokio::test]
async fn another_address_counts_once_it_is_proved_and_the_old_one_is_told() {
    let stack = Stack::builder().workers(["notifications"]).without_limits().start().await;
    let other = "asha@elsewhere.example";
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    verify_email(&stack, &user, EMAIL).await;
    let change = async |password: Option<&str>, email: &str| {
        user.post("/auth/change-email", json!({"email": email, "password": password})).await
    };
    change(None, other).await.failed(403, "Password is required");
    change(Some("Wr0ng-horse"), other).await.failed(403, "Current password is incorrect");
    change(Some(PASSWORD), EMAIL).await.failed(409, "Your e-mail address is verified already");
    let sent = change(Some(PASSWORD), other).await.data();
    assert_eq!(sent["pending_email"], other);
    let me = user.get("/auth/me").await.data();
    assert_eq!((&me["user"]["email"], &me["pending_email"]), (&json!(EMAIL), &json!(other)));
    verify_email(&stack, &user, other).await;
    let told = stack.mailed(EMAIL, "was changed").await;
    assert!(!told.text.contains(other), "{}", told.text);
    log_in(&stack, "email", other, PASSWORD).await.ok();
    log_in(&stack, "email", EMAIL, PASSWORD).await.failed(401, WRONG);

    // One that another account has proved is told to be taken only to who can read its mail.
    let second = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let taken = json!({"email": other, "password": PASSWORD});
    second.post("/auth/change-email", taken).await.ok();
    eventually("the code", SOON, async || {
        let mails = stack.providers.mail();
        let mails = mails.iter().filter(|mail| mail.to == [other]).count();
        seen(mails == 2, mails).map(drop)
    })
    .await;
    let code = stack.mailed_code(other).await;
    second.post("/auth/verify-email", json!({"code": code})).await.failed(409, EXISTS);
}

#[tokio::test]
async fn an_operator_gives_roles_to_proved_contacts_and_to_ids_only() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let refused = async |account: &str, why: &str| {
        let refused = stack.api_cli(&["set-role", account, "admin"]).await;
        let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && reason.contains(why), "{reason}");
    };
    refused(EMAIL, "has not proved asha@nexus.example").await;
    let shown = stack.api_cli_ok(&["show-account", EMAIL]).await;
    assert!(shown.starts_with(&format!("{} user {EMAIL} (not proved)\n", user.id)), "{shown}");
    let second = register(&stack, json!({"email": EMAIL, "password": "An0ther-horse"})).await;
    let ids = format!("users {}, {} claim {EMAIL}", user.id, second.id);
    refused(EMAIL, &ids).await;
    let said = stack.api_cli_ok(&["set-role", &user.id.to_string(), "admin"]).await;
    assert_eq!(said, format!("User {} is admin now.\n", user.id));
    let said = stack.api_cli_ok(&["set-email", &second.id.to_string(), EMAIL, "--proved"]).await;
    let expected =
        format!("The e-mail address of user {} was {EMAIL} and is {EMAIL} now.\n", second.id);
    assert_eq!(said, expected);
    let said = stack.api_cli_ok(&["set-role", EMAIL, "organiser"]).await;
    assert_eq!(said, format!("User {} is organiser now.\n", second.id));
    assert_eq!(
        stack.row(&format!("SELECT email FROM users WHERE id = {}", user.id)).await["email"],
        Value::Null
    );
}

#[tokio::test]
async fn a_contact_that_is_changed_in_the_database_is_not_proved() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    stack.set_phone(&user, PHONE).await;
    stack.execute("UPDATE users SET name = 'Asha'").await;
    let me = user.get("/auth/me").await.data();
    assert_eq!((&me["email_verified"], &me["phone_verified"]), (&json!(true), &json!(true)));
    stack.execute(&format!("UPDATE users SET email = '{EMAIL}', phone = '+919800000000'")).await;
    let me = user.get("/auth/me").await.data();
    assert_eq!((&me["email_verified"], &me["phone_verified"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn a_change_that_is_under_way_when_the_account_changes_hands_is_not_made() {
    let stack = Stack::builder().workers(["otp"]).without_limits().start().await;
    let account = json!({"email": "mallory@nexus.example", "phone": PHONE, "password": PASSWORD});
    let stranger = register(&stack, account).await;
    let otp = stack.otp(PHONE).await;
    // The stranger keeps setting the password, which takes a while to compare and to hash.
    let change = json!({"currentPassword": PASSWORD, "newPassword": PASSWORD});
    let mut changes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (stranger, change) = (stranger.clone(), change.clone());
        changes.spawn(async move { stranger.post("/auth/change-password", change).await });
    }
    let anonymous = stack.anonymous();
    let login = json!({"phone": PHONE, "otp": otp});
    let owner =
        anonymous.clone().logged_in(&anonymous.post("/auth/verify-otp", login).await.data());
    while let Some(changed) = changes.join_next().await {
        let changed = changed.unwrap();
        if changed.status == 200 {
            // It was made before the owner came, and has ended with everything else.
            stack.anonymous().logged_in(&changed.data()).has_ended().await;
        }
    }
    owner.get("/auth/me").await.ok();
    log_in(&stack, "phone", PHONE, PASSWORD).await.failed(401, WRONG);
}

#[tokio::test]
async fn who_claims_a_contact_often_uses_up_no_budget_of_its_owner() {
    let stack = Stack::builder().workers([]).env("RATE_LIMIT_OTP_SEND", "2/1h").start().await;
    // From each network, somebody registers with the victim's phone and has codes sent there.
    let mut sent = 0;
    for number in 0..4 {
        let anonymous = stack.anonymous();
        let account = json!({"phone": PHONE, "password": format!("Str4nger-horse-{number}")});
        anonymous.post("/auth/register", account).await.ok();
        let response = anonymous.post("/auth/send-otp", json!({"phone": PHONE})).await;
        sent += usize::from(response.status == 200);
    }
    assert_eq!(sent, 2, "all of them share one budget");
}

#[tokio::test]
async fn a_session_that_ends_while_its_change_waits_makes_none() {
    let stack = Stack::builder().workers([]).start().await;
    let user = register(&stack, json!({"email": EMAIL, "password": PASSWORD})).await;
    let mut ending = stack.db.begin().await.unwrap();
    let sql = |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    let lock = format!("SELECT id FROM users WHERE id = {} FOR NO KEY UPDATE", user.id);
    sql(lock).execute(&mut *ending).await.unwrap();
    let change = json!({"currentPassword": PASSWORD, "newPassword": "An0ther-horse"});
    let under_way = tokio::spawn({
        let user = user.clone();
        async move { user.post("/auth/change-password", change).await }
    });
    eventually("the change waits", SOON, async || {
        let waiting = stack.count("pg_stat_activity WHERE wait_event_type = 'Lock'").await;
        seen(waiting == 1, waiting).map(drop)
    })
    .await;
    sql("UPDATE sessions SET ended_at = now()".to_owned()).execute(&mut *ending).await.unwrap();
    ending.commit().await.unwrap();
    under_way.await.unwrap().failed(401, "Token has been revoked");
    log_in(&stack, "email", EMAIL, PASSWORD).await.ok();
}

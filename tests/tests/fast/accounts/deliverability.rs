//! Every user who can register can be reached: an accepted e-mail address gets mail, and an address
//! that older rules accepted is reported to operators, who can put it right.

use nexus_tests::shop::PASSWORD;
use nexus_tests::{Booking, Client, Event, SOON, Stack, Value, eventually, json, seen};

async fn register(stack: &Stack, email: &str, name: &str) -> Client {
    let account = json!({"email": email, "name": name, "password": PASSWORD});
    let data = stack.anonymous().post("/auth/register", account).await.data();
    stack.prove_emails().await;
    stack.anonymous().logged_in(&data)
}

/// An event whose tickets cost nothing, so that they are sent without a payment.
async fn free_event(stack: &Stack) -> Event {
    let organiser = stack.user().await;
    stack.event(&organiser, &[("VIP", 0.0, 50)]).await
}

/// Waits for the newest job that mails tickets.
async fn until_mailing(stack: &Stack, state: &str) -> Value {
    eventually(&format!("the mail is {state}"), SOON, async || {
        let job = "SELECT state, attempt, last_error FROM jobs WHERE kind = 'email_tickets' ORDER BY id DESC LIMIT 1";
        let job = stack.rows(job).await.pop().ok_or("there is none")?;
        seen(job["state"] == state, job)
    })
    .await
}

async fn booked(buyer: &Client, event: &Event, label: &str) -> Booking {
    buyer.lock_and_book(event, &[("VIP", label)]).await
}

#[tokio::test]
async fn whatever_address_and_name_registration_accepts_the_tickets_arrive() {
    let stack = Stack::start().await;
    let event = free_event(&stack).await;
    let anonymous = stack.anonymous();
    for refused in [
        "taro..yamada@example.com",
        "name.@example.com",
        "name@mail.example,",
        "<a@b.example>",
        "x@[127.0.0.1]",
        "x@127.0.0.1",
        "a@x;y",
        "ä@example.com",
        "a\u{0}b\n@example.com",
    ] {
        let account = json!({"email": refused, "password": PASSWORD});
        let response = anonymous.post("/auth/register", account).await;
        response.failed(400, "Validation failed: Invalid email format");
    }
    let accepted = [
        ("User@EXÄMPLE.de", "user@xn--exmple-cua.de", "Ann\nLee", "Ann Lee"),
        ("\"taro..yamada\"@example.com", "\"taro..yamada\"@example.com", "山田\t太郎", "山田 太郎"),
        (
            "o'neil+tag@example.com",
            "o'neil+tag@example.com",
            "\"O'Neil, A.\" \u{1b}[1m",
            "\"O'Neil, A.\" [1m",
        ),
    ];
    for (n, (email, mailbox, name, shown)) in accepted.into_iter().enumerate() {
        let buyer = register(&stack, email, name).await;
        let user = buyer.get("/auth/me").await.data()["user"].take();
        assert_eq!((&user["email"], &user["name"]), (&json!(mailbox), &json!(shown)));
        booked(&buyer, &event, &format!("A{n}")).await;
        let mail = eventually("the tickets are mailed", SOON, async || {
            stack
                .providers
                .mail()
                .into_iter()
                .find(|mail| mail.to == [mailbox] && mail.subject.starts_with("Your tickets"))
                .ok_or(mailbox.to_owned())
        });
        let mail = mail.await;
        assert!(mail.text.contains(&format!("Hello {shown},")), "{}", mail.text);
    }
    stack.assert_invariants().await;
}

#[tokio::test]
async fn a_mail_is_text_and_html_and_its_html_escapes_what_people_have_written() {
    let stack = Stack::start().await;
    let event = free_event(&stack).await;
    stack.execute("UPDATE events SET name = 'Rock & <i>Roll</i>', location = 'Hall \"A\"'").await;
    let buyer = register(&stack, "asha@example.com", "Asha").await;
    stack.execute("UPDATE users SET name = '<b>Asha</b>' WHERE name = 'Asha'").await;
    let reference = booked(&buyer, &event, "A1").await.reference;
    let mail = stack.mailed("asha@example.com", "Your tickets").await;
    let text = format!(
        "Hello <b>Asha</b>,\n\nyour booking {reference} is confirmed.\n\n\
         Rock & <i>Roll</i>\nFriday, 1 May 2099, 23:30 IST (Asia/Kolkata)\nHall \"A\"\n\n\
         Your tickets (attached, to print or to show):\n  VIP, seat A1, ₹0.00: TKT-{reference}-A1\n\n\
         Please show one QR code per person at the entrance. They replace any that you have had before."
    );
    assert_eq!(mail.text.replace("\r\n", "\n").trim_end(), text);
    for part in [
        "Hello &lt;b&gt;Asha&lt;/b&gt;,",
        "Rock &amp; &lt;i&gt;Roll&lt;/i&gt;",
        "Friday, 1 May 2099, 23:30 IST (Asia/Kolkata)",
        "Hall &quot;A&quot;",
        "VIP, seat <b>A1</b>, ₹0.00<br>",
        &format!("TKT-{reference}-A1"),
    ] {
        assert!(mail.html.contains(part), "{part} in {}", mail.html);
    }
    assert!(mail.raw.contains("multipart/alternative"), "{}", mail.raw);
}

#[tokio::test]
async fn an_internationalised_domain_is_one_account_in_either_spelling() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let anonymous = stack.anonymous();
    let log_in = async |email: &str| {
        anonymous.post("/auth/login", json!({"email": email, "password": PASSWORD})).await.data()["user"]["id"].take()
    };
    let exists = "User with this email, username or phone already exists";
    let (unicode, punycode) = ("user@exämple.de", "user@xn--exmple-cua.de");
    let user = register(&stack, unicode, "Ann").await;
    for kept in [punycode, unicode] {
        // The second one is how it was kept before.
        stack.execute(&format!("UPDATE users SET email = '{kept}'")).await;
        stack.prove_emails().await;
        for spelling in [unicode, punycode, "USER@Exämple.DE"] {
            assert_eq!(log_in(spelling).await, user.id, "{spelling} of {kept}");
            let account = json!({"email": spelling, "password": PASSWORD});
            anonymous.post("/auth/register", account).await.failed(409, exists);
        }
    }
}

#[tokio::test]
async fn accounts_with_what_nobody_could_register_today_still_log_in() {
    let stack = Stack::builder().workers([]).without_limits().start().await;
    let user = register(&stack, "ann@example.com", "Ann").await;
    for (email, phone, spelling) in [
        ("name.@example.com", "+9109876371771", "+91 0 98763 71771"),
        ("a@x;y.example", "+91987637177", "+91 98763-7177"),
        ("x@127.0.0.1", "+9198763717711", "+9198763717711"),
    ] {
        stack.execute(&format!("UPDATE users SET email = '{email}', phone = '{phone}'")).await;
        for login in [json!({"email": email}), json!({"phone": spelling})] {
            let mut request = login;
            request["password"] = json!(PASSWORD);
            let data = stack.anonymous().post("/auth/login", request).await.data();
            assert_eq!(data["user"]["id"], user.id);
        }
    }
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_is_given_up_at_once_and_an_operator_corrects_the_address_and_sends_it_again()
 {
    let stack = Stack::start().await;
    let event = free_event(&stack).await;
    let buyer = stack.user().await;
    register(&stack, "user@exämple.de", "Ann").await;
    // As rows of older releases are.
    let older = format!(
        "UPDATE users SET email = 'name.@example.com', name = E'Ann\\nLee' WHERE id = {}",
        buyer.id
    );
    stack.execute(&older).await;
    stack.prove_emails().await;
    stack.execute("UPDATE events SET name = E'Monsoon\\nJazz'").await;
    let booking = booked(&buyer, &event, "A1").await;
    let given_up = until_mailing(&stack, "cancelled").await;
    assert_eq!(
        (&given_up["attempt"], &given_up["last_error"]),
        (&json!(1), &json!("SMTP cannot be asked: the address is invalid"))
    );

    for (taken, why) in [
        ("user@xn--exmple-cua.de", "already exists"),
        ("other.@example.com", "mail cannot be sent to such an address"),
    ] {
        let refused = stack.api_cli(&["set-email", "name.@example.com", taken, "--proved"]).await;
        let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && reason.contains(why), "{refused:?}");
    }
    let said =
        stack.api_cli_ok(&["set-email", "name.@example.com", "Name@EXÄMPLE.com", "--proved"]).await;
    let expected = format!(
        "The e-mail address of user {} was name.@example.com and is name@xn--exmple-cua.com now.\n",
        buyer.id
    );
    assert_eq!(said, expected);
    // They are sent as soon as there is an address that is proved.
    until_mailing(&stack, "done").await;
    let mail = stack.mailed("name@xn--exmple-cua.com", "Your tickets").await;
    assert_eq!(
        (mail.to, mail.subject.as_str()),
        (vec!["name@xn--exmple-cua.com".into()], "Your tickets for Monsoon Jazz")
    );
    assert!(mail.raw.contains("\"Ann Lee\" <name@xn--exmple-cua.com>"), "{}", mail.raw);

    // Once more, because the first one was lost; and nothing where there is nothing to send.
    stack.jobs_cli_ok(&["resend-tickets", &booking.reference]).await;
    eventually("it is mailed again", SOON, async || {
        let mails = stack.providers.mail();
        let mails = mails.iter().filter(|mail| mail.subject.contains("Your tickets")).count();
        seen(mails == 2, mails)
    })
    .await;
    let unknown = stack.jobs_cli(&["resend-tickets", "BKG-NONE"]).await;
    let reason = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        !unknown.status.success() && reason.contains("there is no confirmed booking BKG-NONE"),
        "{unknown:?}"
    );
    stack.assert_invariants().await;
}

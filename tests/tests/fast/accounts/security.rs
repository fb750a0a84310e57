//! Accounts: how tokens are kept, how sessions end at once everywhere, what a flood of logins
//! costs, and roles.

use std::time::Duration;

use futures_util::future::join_all;
use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{Client, SOON, Stack, Value, eventually, json, seen};

async fn registered(stack: &Stack, email: &str) -> Client {
    let anonymous = stack.anonymous();
    let data = anonymous
        .post("/auth/register", json!({"email": email, "password": PASSWORD}))
        .await
        .data();
    stack.prove_emails().await;
    anonymous.logged_in(&data)
}

async fn log_in(stack: &Stack, email: &str) -> Client {
    let anonymous = stack.anonymous();
    let data =
        anonymous.post("/auth/login", json!({"email": email, "password": PASSWORD})).await.data();
    anonymous.logged_in(&data)
}

/// Where a text is to be found: tables, and `Redis`.
async fn found(stack: &Stack, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let tables = "SELECT table_name AS name FROM information_schema.tables
                  WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    for table in stack.rows(tables).await {
        let name = table["name"].as_str().unwrap();
        if stack.count(&format!("{name} t WHERE strpos(t::text, '{text}') > 0")).await > 0 {
            found.push(name.to_owned());
        }
    }
    // All that Redis has, keys and values of every kind.
    stack.redis_command("CONFIG SET rdbcompression no").await;
    assert_eq!(stack.redis_command("SAVE").await, "+OK");
    let dir = stack.redis_list("CONFIG GET dir").await.remove(1);
    let name = stack.redis_list("CONFIG GET dbfilename").await.remove(1);
    let dump = std::fs::read(std::path::Path::new(&dir).join(name)).unwrap();
    if dump.windows(text.len()).any(|window| window == text.as_bytes()) {
        found.push("Redis".to_owned());
    }
    found
}

/// The tokens of a few sessions: those that are still good, and those that have ended.
async fn tokens(stack: &Stack) -> (Vec<String>, Vec<String>) {
    let first = registered(stack, "asha@nexus.example").await;
    let second = log_in(stack, "asha@nexus.example").await;
    let ended = log_in(stack, "asha@nexus.example").await;
    let refreshed =
        second.post("/auth/refresh-token", json!({"refreshToken": second.refresh_token})).await;
    let refreshed = refreshed.data()["accessToken"].as_str().unwrap().to_owned();
    ended.post("/auth/logout", json!({"refreshToken": ended.refresh_token})).await.ok();
    let both =
        |client: &Client| [client.token.clone().unwrap(), client.refresh_token.clone().unwrap()];
    let open = [both(&first), both(&second)].concat().into_iter().chain([refreshed]);
    (open.collect(), both(&ended).to_vec())
}

#[tokio::test]
async fn no_token_is_kept_as_it_is() {
    let stack = Stack::builder().workers([]).start().await;
    let (open, ended) = tokens(&stack).await;
    for token in open.iter().chain(&ended) {
        assert_eq!(found(&stack, token).await, Vec::<String>::new(), "{token}");
    }
}

#[tokio::test]
async fn beside_the_node_service_tokens_are_where_it_looks_for_them() {
    let stack = Stack::builder().workers([]).env("SIDE_BY_SIDE", "on").start().await;
    let (open, ended) = tokens(&stack).await;
    assert_eq!(found(&stack, &open[1]).await, ["refresh_tokens", "Redis"]);
    assert_eq!(found(&stack, &ended[0]).await, ["blacklisted_tokens", "Redis"]);
}

#[tokio::test]
async fn a_revocation_that_redis_has_lost_is_known_to_every_process_at_once() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    for how in ["logout", "logout-all"] {
        let here = stack.user().await;
        let there = here.clone().at(&stack.api_url(1));
        // The other process remembers the token as good.
        there.get("/auth/me").await.ok();
        there.get("/auth/me").await.ok();
        here.post(&format!("/auth/{how}"), json!({})).await.ok();
        stack.redis_command("FLUSHALL").await;
        here.get("/auth/me").await.failed(401, "Token has been revoked");
        // From memory alone that process would accept the token for ten seconds.
        eventually("the other process knows", Duration::from_secs(7), async || {
            let response = there.get("/auth/me").await;
            seen(response.status == 401, response.to_string()).map(drop)
        })
        .await;
    }
}

#[tokio::test]
async fn an_operator_ends_every_session_and_its_sockets_are_told_no_more() {
    let stack = Stack::builder().workers([]).api_processes(2).start().await;
    let email = "asha@nexus.example";
    let before = registered(&stack, email).await;
    let mut draft = event_request(&[("VIP", 100.0, 50)]);
    draft["status"] = json!("draft");
    let draft = before.post("/events/create", draft).await.data()["event"]["id"].take();
    let there = json!({"url": stack.api_url(1)});
    let old = stack.socket_with("the old socket", &before, there.clone()).await;
    let rename = async |client: &Client, name: &str| {
        client.put(&format!("/events/{draft}"), json!({"name": name})).await.ok();
    };
    // It is its user's once its first command is answered, and may not be before.
    old.call("delete_event", &[json!({})]).await;
    rename(&before, "Before").await;
    old.wait_for("event_updated", |broadcast| broadcast["event"]["name"] == "Before", SOON).await;

    let said = stack.api_cli_ok(&["end-sessions", email]).await;
    assert_eq!(said, format!("1 session(s) of user {} have ended.\n", before.id));
    eventually("the socket's commands are refused", Duration::from_secs(7), async || {
        let response = old.call("delete_event", &[json!({})]).await;
        seen(response == json!({"success": false, "error": "Authentication required"}), response)
            .map(drop)
    })
    .await;
    before.get("/auth/me").await.failed(401, "Token has been revoked");
    let refresh = json!({"refreshToken": before.refresh_token});
    before.post("/auth/refresh-token", refresh).await.failed(401, "Refresh token has been revoked");

    let after = log_in(&stack, email).await;
    let new = stack.socket_with("the new socket", &after, there).await;
    new.call("delete_event", &[json!({})]).await;
    let mut number = 0;
    eventually("only the new socket hears of the draft", SOON, async || {
        number += 1;
        let name = format!("After {number}");
        rename(&after, &name).await;
        new.wait_for("event_updated", |broadcast| broadcast["event"]["name"] == *name, SOON).await;
        let heard = old.received("event_updated");
        seen(heard.iter().all(|broadcast| broadcast["event"]["name"] != *name), heard).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_socket_of_a_session_that_is_logged_out_is_told_no_more_and_the_others_are() {
    let stack = Stack::builder().workers([]).start().await;
    let first = registered(&stack, "asha@nexus.example").await;
    let second = log_in(&stack, "asha@nexus.example").await;
    let (ended, open) = (stack.socket("ended", &first).await, stack.socket("open", &second).await);
    // See above.
    open.call("delete_event", &[json!({})]).await;
    first.post("/auth/logout", json!({})).await.ok();
    let mut draft = event_request(&[("VIP", 100.0, 50)]);
    draft["status"] = json!("draft");
    second.post("/events/create", draft).await.ok();
    open.wait_for_any("event_created").await;
    second.post("/events/create", event_request(&[("VIP", 100.0, 50)])).await.ok();
    ended
        .wait_for("event_created", |broadcast| broadcast["event"]["status"] == "published", SOON)
        .await;
    assert_eq!(ended.received("event_created").len(), 1, "{}", ended.describe());
}

#[tokio::test]
async fn a_flood_of_logins_is_told_to_come_again_and_costs_nobody_else_their_answer() {
    let stack = Stack::builder().workers([]).start().await;
    let user = registered(&stack, "asha@nexus.example").await;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let attempts = (0..cores * 33 + 200).map(async |number| {
        let login =
            json!({"email": format!("nobody-{number}@nexus.example"), "password": PASSWORD});
        stack.anonymous().post("/auth/login", login).await
    });
    let (responses, ()) = futures_util::future::join(join_all(attempts), async {
        user.get("/auth/me").await.ok();
    })
    .await;
    let refused: Vec<_> = responses.iter().filter(|response| response.status == 503).collect();
    assert!(!refused.is_empty(), "everybody waited");
    for response in &refused {
        response.failed(503, "Too many people are here at the moment. Please try again shortly.");
        assert!(response.headers.contains_key("retry-after"), "{response}");
    }
    let served = responses.iter().filter(|response| response.status != 503);
    served.for_each(|response| response.failed(401, "Invalid email or password"));
    log_in(&stack, "asha@nexus.example").await;
}

async fn create(client: &Client) -> (u16, Value) {
    let response = client.post("/events/create", event_request(&[("VIP", 100.0, 50)])).await;
    (response.status, response.body["error"]["message"].clone())
}

#[tokio::test]
async fn creating_events_can_be_kept_for_organisers_and_roles_count_at_once() {
    let stack = Stack::builder().workers([]).env("EVENT_CREATION", "organisers").start().await;
    let email = "asha@nexus.example";
    let user = registered(&stack, email).await;
    let socket = stack.socket("the user", &user).await;
    let refused = (403, json!("You are not authorized to create events"));
    assert_eq!(create(&user).await, refused);
    for role in ["organiser", "admin"] {
        let said = stack.api_cli_ok(&["set-role", email, role]).await;
        assert_eq!(said, format!("User {} is {role} now.\n", user.id));
        assert_eq!(create(&user).await, (200, Value::Null), "{role}");
        socket.call_ok("create_event", event_request(&[("VIP", 100.0, 50)])).await;
    }
    stack.api_cli_ok(&["set-role", email, "user"]).await;
    assert_eq!(create(&user).await, refused);
    let response = socket.call("create_event", &[event_request(&[("VIP", 100.0, 50)])]).await;
    assert_eq!(response, json!({"success": false, "error": refused.1}));
}

#[tokio::test]
async fn operators_see_who_has_which_role_and_since_when() {
    let stack = Stack::builder().workers([]).start().await;
    let user = registered(&stack, "asha@nexus.example").await;
    registered(&stack, "nobody@nexus.example").await;
    assert_eq!(stack.api_cli_ok(&["list-admins"]).await, "");
    stack.api_cli_ok(&["set-role", "asha@nexus.example", "organiser"]).await;
    // Again, which changes nothing.
    stack.api_cli_ok(&["set-role", "ASHA@nexus.example", "organiser"]).await;
    stack.api_cli_ok(&["set-role", "asha@nexus.example", "admin"]).await;
    let line = format!("{} admin asha@nexus.example\n", user.id);
    assert_eq!(stack.api_cli_ok(&["list-admins"]).await, line);
    let shown = stack.api_cli_ok(&["show-account", "asha@nexus.example"]).await;
    assert!(shown.starts_with(&line), "{shown}");
    assert!(shown.contains("\n1 open session(s)\n"), "{shown}");
    let operator =
        stack.row("SELECT session_user::text AS name").await["name"].as_str().unwrap().to_owned();
    let changes = format!(" user -> organiser by {operator}\n");
    assert!(shown.contains(&changes), "{shown}");
    assert!(shown.ends_with(&format!(" organiser -> admin by {operator}\n")), "{shown}");
    assert_eq!(stack.count("role_changes").await, 2);
}

//! What every HTTP client may rely on, on every route.

use nexus_tests::{Response, Stack, json};
use reqwest::Method;

#[tokio::test]
async fn what_a_client_has_read_is_not_sent_again_until_it_changes() {
    let stack = Stack::builder().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    let anonymous = stack.anonymous();
    let ask = async |known: &str| {
        Response::to(anonymous.request(Method::GET, &path).header("if-none-match", known)).await
    };
    let tag = |response: &Response| response.headers["etag"].to_str().expect("text").to_owned();

    let first = anonymous.get(&path).await;
    let known = tag(&first);
    for known in [known.clone(), format!("\"other\", {known}"), "*".into()] {
        let again = ask(&known).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{known}");
        assert_eq!(tag(&again), tag(&first));
        assert!(!again.headers.contains_key("content-type"));
    }

    organiser.put(&path, json!({"name": "Another name"})).await.ok();
    let changed = ask(&known).await;
    assert_eq!(changed.status, 200);
    assert_ne!(tag(&changed), known);
    assert_eq!(changed.body["data"]["name"], "Another name");
    assert!(!anonymous.get("/events/424242").await.headers.contains_key("etag"), "of a failure");
}

#[tokio::test]
async fn a_page_can_load_the_socket_io_client_from_the_server() {
    let stack = Stack::builder().workers([]).start().await;
    let official = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/clients/node_modules/socket.io-client/dist/socket.io.min.js"
    );
    let official = std::fs::read_to_string(official).expect("npm's client");
    for path in ["/socket.io/socket.io.js", "/socket.io/socket.io.min.js"] {
        let response = stack.anonymous().get_root(path).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.headers["content-type"], "application/javascript; charset=utf-8");
        assert!(response.text == official, "{path} is not the client of the npm package");
    }
}

#[tokio::test]
async fn no_cache_keeps_a_poll() {
    let stack = Stack::builder().workers([]).start().await;
    let response = stack.anonymous().get_root("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(
        (response.status, &response.headers["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    assert!(!response.headers.contains_key("etag"));
}

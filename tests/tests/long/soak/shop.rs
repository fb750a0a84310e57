//! What people know of the shop: where the API is, what is on sale, where to pay.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use nexus_tests::client::http_client;
use nexus_tests::{Client, Event, Method, Response, Stack, Value, json};

use super::record::{Record, now};

/// Shared by all people.
pub(crate) struct Shop {
    pub(crate) urls: [String; 2],
    /// Of the stand-ins for the providers.
    pub(crate) sandbox: String,
    pub(crate) http: reqwest::Client,
    pub(crate) organiser: Client,
    pub(crate) admin: Client,
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) over: Cell<bool>,
    pub(crate) seed: u64,
    pub(crate) record: Record,
    turn: Cell<usize>,
}

impl Shop {
    pub(crate) async fn new(stack: &Stack, urls: [String; 2], seed: u64) -> Self {
        let http = http_client();
        let [organiser] = <[Client; 1]>::try_from(users(stack, &http, 1).await).unwrap();
        let admin = stack.admin().await;
        Self {
            urls,
            sandbox: format!("{}/sandbox", stack.providers.url()),
            http,
            organiser,
            admin,
            events: RefCell::default(),
            over: Cell::new(false),
            seed,
            record: Record::default(),
            turn: Cell::new(0),
        }
    }

    /// All people have left; connections are closed.
    pub(crate) fn leave(self) -> Record {
        self.record
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Waits for a moment, unless all is over.
    pub(crate) async fn pause(&self, time: Duration) {
        if !self.is_over() {
            tokio::time::sleep(time).await;
        }
    }

    /// Asks one API process or the other, once; null is no body.
    pub(crate) async fn ask(
        &self,
        what: &'static str,
        who: &Client,
        method: Method,
        path: &str,
        body: Value,
    ) -> Option<Response> {
        let request = self.anywhere(who).request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        self.send(what, request).await
    }

    /// The same, for a request that has everything.
    pub(crate) async fn send(
        &self,
        what: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Option<Response> {
        let began = now();
        let response = Response::try_to(request).await;
        self.record.add(what, began, &response);
        response.ok()
    }

    /// Asks until there is a response that does not say "not now", or all is over.
    pub(crate) async fn insist(
        &self,
        what: &'static str,
        who: &Client,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Option<Response> {
        while !self.is_over() {
            match self.ask(what, who, method.clone(), path, body.clone()).await {
                Some(response) if response.status < 500 => return Some(response),
                _ => self.pause(Duration::from_millis(300)).await,
            }
        }
        None
    }

    /// The same client, talking to the API process that comes next.
    pub(crate) fn anywhere(&self, who: &Client) -> Client {
        self.turn.set(self.turn.get() + 1);
        who.clone().at(&self.urls[self.turn.get() % self.urls.len()])
    }

    /// Tells the stand-in for the bank.
    pub(crate) async fn pay(&self, order: &str, outcome: &str) -> bool {
        let request = self.http.post(format!("{}/pay", self.sandbox));
        let request = request.json(&json!({"order_id": order, "outcome": outcome}));
        request.send().await.is_ok_and(|response| response.status().is_success())
    }
}

/// New users, whose tokens outlive the run, and whose connections end with `http`.
pub(crate) async fn users(stack: &Stack, http: &reqwest::Client, count: usize) -> Vec<Client> {
    let url = stack.api_url(0);
    let lasting = |user: Client| {
        let now = now() as u64;
        let claims =
            json!({"userId": user.id, "type": "access", "iat": now, "exp": now + 7 * 86_400});
        Client::anonymous(http, &url).with_token(user.id, stack.sign_token(&claims))
    };
    stack.users(count).await.into_iter().map(lasting).collect()
}

//! REST clients: they send JSON and keep a token. Every response is checked against the API's
//! documents.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::conformance;
use crate::response::Response;

/// A session of the operators' pages.
#[derive(Debug, Clone)]
pub struct Operator {
    /// What the authenticator knows.
    pub secret: String,
    /// `nexus_admin=…`
    pub cookie: String,
    /// What every form has.
    pub form_token: String,
}

/// A client of the API, logged in or not. Each has a /24 of its own, so that no two share a
/// rate limit.
#[derive(Debug, Clone)]
pub struct Client {
    /// `users.id`; 0 for an anonymous client.
    pub id: i64,
    /// The access token, if logged in.
    pub token: Option<String>,
    /// The cookie and the form token of the operators' pages, after a login there.
    pub operator: Option<Operator>,
    /// The refresh token, after a login over REST.
    pub refresh_token: Option<String>,
    http: reqwest::Client,
    url: String,
    address: Ipv4Addr,
}

impl Client {
    /// An anonymous client, talking to `http://host:port`.
    pub fn anonymous(http: &reqwest::Client, url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let address =
            Ipv4Addr::from(0x0a00_0001 | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff) << 8);
        Self {
            id: 0,
            token: None,
            operator: None,
            refresh_token: None,
            http: http.clone(),
            url: url.to_owned(),
            address,
        }
    }

    /// This client with that user's tokens.
    pub fn with_token(mut self, id: i64, token: impl Into<String>) -> Self {
        (self.id, self.token) = (id, Some(token.into()));
        self
    }

    /// This user at another API process.
    pub fn at(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// Takes over the user and the tokens of a login's answer.
    pub fn logged_in(mut self, data: &Value) -> Self {
        let text = |field: &str| {
            data[field].as_str().unwrap_or_else(|| panic!("no {field} in {data}")).to_owned()
        };
        self.id = data["user"]["id"].as_i64().unwrap_or_else(|| panic!("no user id in {data}"));
        (self.token, self.refresh_token) = (Some(text("accessToken")), Some(text("refreshToken")));
        self
    }

    /// The address from which its requests claim to come.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A request to `/api/v1{path}` that has everything but a body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.identified(self.http.request(method, self.url_of(path)))
    }

    fn identified(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("x-forwarded-for", self.address.to_string());
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The address of `/api/v1{path}`.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    pub async fn get(&self, path: &str) -> Response {
        Response::to(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Response {
        Response::to(self.request(Method::POST, path).json(&body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Response {
        Response::to(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Response {
        Response::to(self.request(Method::DELETE, path)).await
    }

    /// A path outside `/api/v1`, such as `/ready`.
    pub async fn get_root(&self, path: &str) -> Response {
        Response::to(self.http.get(format!("{}{path}", self.url))).await
    }

    /// A request to a path outside `/api/v1` that has everything but a body.
    pub fn request_root(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.identified(self.http.request(method, format!("{}{path}", self.url)));
        match &self.operator {
            Some(operator) => {
                request.header("cookie", &operator.cookie).header("origin", &self.url)
            }
            None => request,
        }
    }

    /// Submits a form of the operators' pages.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.operator.as_ref().map(|operator| operator.form_token.as_str());
        let fields = token.map(|token| ("token", token)).into_iter().chain(fields.iter().copied());
        let fields: Vec<_> = fields.collect();
        Response::to(self.request_root(Method::POST, path).form(&fields)).await
    }
}

/// The HTTP client that a whole test shares.
pub fn http_client() -> reqwest::Client {
    // The client insists on a TLS provider even though it only ever talks to loopback. A second
    // call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        // It would also read all certificates of the machine, which takes longer than most
        // requests.
        .tls_certs_only([])
        .redirect(Policy::none())
        .timeout(Duration::from_secs(30));
    client.build().expect("an HTTP client")
}

impl Response {
    /// Sends a request; no response at all is a failed test.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a request to a server that may not be listening.
    pub async fn try_to(request: RequestBuilder) -> Result<Self, String> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| error.to_string())?;
        let what = format!("{} {}", request.method(), request.url().path());
        let sent = request.try_clone();
        let unanswered = |error: reqwest::Error| format!("{what} was not answered: {error:?}");
        let response = client.execute(request).await.map_err(unanswered)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.map_err(unanswered)?.to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let response = Self { request: what, status, headers, bytes, text, body };
        if let Some(sent) = sent {
            conformance::check_response(&sent, &response);
        }
        Ok(response)
    }
}

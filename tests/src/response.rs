//! A response of the API, and checks of it.

use serde_json::{Value, json};

/// A response of the API.
#[derive(Debug, Clone)]
pub struct Response {
    /// `POST /api/v1/…`
    pub request: String,
    /// HTTP status.
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// The body as it came.
    pub bytes: Vec<u8>,
    /// The same as text.
    pub text: String,
    /// The body as JSON, null when it is none.
    pub body: Value,
}

impl Response {
    /// The body of a success.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        self.body
    }

    /// The `data` of a success.
    pub fn data(self) -> Value {
        self.ok()["data"].take()
    }

    /// Checks that it failed with this status and message, in the contract's envelope
    /// (docs/contract.md#failures).
    pub fn failed(&self, status: u16, message: &str) {
        let error = &self.body["error"];
        assert_eq!((self.status, error["message"].as_str()), (status, Some(message)), "{self}");
        let code = error["code"].as_str().unwrap_or_default();
        let snake_case = !code.is_empty()
            && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(snake_case, "the code is not snake_case: {self}");
        assert!(
            error["request_id"].as_str().is_some_and(|id| !id.is_empty()),
            "no request_id: {self}"
        );
        let has_success =
            ["/api/v1/bookings", "/api/v1/payments"].iter().any(|path| self.request.contains(path));
        let envelope = if has_success {
            json!({"success": false, "error": error})
        } else {
            json!({"error": error})
        };
        assert_eq!(self.body, envelope, "{self}");
    }

    /// The message of a failure.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}: {}", self.request, self.status, self.text)
    }
}

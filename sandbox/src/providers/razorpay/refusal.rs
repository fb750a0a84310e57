//! Razorpay's error answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why Razorpay did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    pub description: String,
    /// The field at fault, if one is.
    pub field: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn bad_request(description: &str) -> Self {
        Self { status: 400, description: description.to_owned(), field: None }
    }

    pub(crate) fn invalid(field: &'static str, description: &str) -> Self {
        Self { field: Some(field), ..Self::bad_request(description) }
    }

    pub(crate) fn unknown_id() -> Self {
        Self::bad_request("The id provided does not exist")
    }

    pub(crate) fn conflict(description: &str) -> Self {
        Self { status: 409, ..Self::bad_request(description) }
    }

    pub(crate) fn unauthorised() -> Self {
        Self { status: 401, ..Self::bad_request("Authentication failed") }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Razorpay answered {}: {}", self.status, self.description)
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({
            "code": "BAD_REQUEST_ERROR",
            "description": self.description,
            "source": "business",
            "step": "payment_initiation",
            "reason": if self.field.is_some() { "input_validation_failed" } else { "NA" },
            "metadata": {},
        });
        if let Some(field) = self.field {
            error["field"] = field.into();
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(json!({ "error": error }))).into_response()
    }
}

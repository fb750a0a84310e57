//! What state an event is in.

use serde::Serialize;
use utoipa::ToSchema;

/// What state an event is in; only `Published` ones are on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum EventStatus {
    Draft,
    Published,
    Cancelled,
    Completed,
}

impl EventStatus {
    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Draft, Self::Published, Self::Cancelled, Self::Completed]
            .into_iter()
            .find(|s| s.name() == name)
    }

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            EventStatus::Draft => "draft",
            EventStatus::Published => "published",
            EventStatus::Cancelled => "cancelled",
            EventStatus::Completed => "completed",
        }
    }
}

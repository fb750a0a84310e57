//! Pages of lists.

use serde::Serialize;
use utoipa::ToSchema;

use super::invalid::Invalid;

/// The requested part of a list (docs/contract.md#events: `limit(10) offset(0)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// The most entries.
    pub limit: i64,
    /// The entries to skip.
    pub offset: i64,
}

impl Page {
    /// The longest page that is served.
    pub const LONGEST: i64 = 100;

    /// Values that are missing or not numbers get their defaults, and so does a limit of zero, as
    /// in the Node service.
    pub fn new(limit: Option<i64>, offset: Option<i64>) -> Result<Self, Invalid> {
        let limit = limit.filter(|limit| *limit != 0).unwrap_or(10);
        let offset = offset.unwrap_or(0);
        if limit < 0 || offset < 0 {
            return Err(Invalid::new("limit and offset must not be negative"));
        }
        Ok(Page { limit: limit.min(Self::LONGEST), offset })
    }

    /// The envelope's `pagination`.
    pub fn describe(self, total: i64) -> Pagination {
        Pagination {
            total,
            limit: self.limit,
            offset: self.offset,
            has_more: self.offset.saturating_add(self.limit) < total,
        }
    }
}

/// The part of a list that was served.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pagination {
    #[schema(minimum = 0)]
    pub total: i64,
    #[schema(minimum = 1, maximum = 100)]
    pub limit: i64,
    #[schema(minimum = 0)]
    pub offset: i64,
    pub has_more: bool,
}

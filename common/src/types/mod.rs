//! The basic vocabulary: ids, money, time, labels, addresses, reasons. No I/O here, and no rule
//! that needs a look-up.

pub mod alert_reason;
pub mod backoff;
pub mod contacts;
pub mod csv;
pub mod feature;
pub mod file;
pub mod ids;
pub mod invalid;
pub mod money;
pub mod page;
pub mod puzzle;
pub mod queue;
pub mod refund_reason;
pub mod retry_policy;
pub(crate) mod schemas;
pub mod seats;
pub mod statuses;
pub mod text;
pub mod text_enum;
pub mod time;
pub mod time_zone;
pub mod usage;
pub mod visibility;

//! What a scan comes to, as scanners are told.

use serde::Serialize;
use utoipa::ToSchema;

use super::gates::Gate;
use crate::types::{
    ids::{GateId, ScanId},
    text_enum::text_enum,
    time::Timestamp,
};

text_enum! {
    /// What a scan comes to.
    pub enum Verdict {
        /// Come in.
        Ok = "ok",
        /// Somebody has come in with it.
        AlreadyUsed = "already_used",
        /// It is not good any more: cancelled, or replaced by another one.
        Void = "void",
        WrongEvent = "wrong_event",
        /// Its seat is reached by another gate.
        WrongGate = "wrong_gate",
        /// It is no ticket, or none that is known.
        Unknown = "unknown",
        /// It looks like a ticket, and none of our keys has signed it.
        Forged = "forged",
    }
}

text_enum! {
    /// Why, where the verdict alone does not say it.
    pub enum Reason {
        /// Its booking was cancelled or refunded.
        Cancelled = "cancelled",
        /// Its holder has been sent another code for it.
        Reissued = "reissued",
        /// Its text is of a time before codes were signed. Its holder has been sent another one.
        Unsigned = "unsigned",
        /// Somebody has changed its text.
        BadSignature = "bad_signature",
        UnknownKey = "unknown_key",
        /// The key may have been used by others. Its holder has been sent another code.
        RevokedKey = "revoked_key",
    }
}

text_enum! {
    /// Why somebody should not have been let in whom a scanner that was offline has let in.
    pub enum Conflict {
        /// Somebody was in with the ticket.
        AlreadyUsed = "already_used",
        /// The ticket was cancelled, its code replaced, or its key revoked.
        Void = "void",
    }
}

/// The ticket that was scanned.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScannedTicket {
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub booking_reference: String,
    /// As its owner has named them; otherwise its owner's.
    pub holder_name: Option<String>,
}

/// That somebody has come in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckIn {
    pub scan_id: ScanId,
    pub at: Timestamp,
    pub gate: Option<NamedGate>,
    /// The ticket was found in a list, and not scanned.
    pub by_hand: bool,
}

/// A gate, as people call it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NamedGate {
    pub id: GateId,
    pub name: String,
}

/// The answer to a scan.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Checked {
    pub result: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// In words, for whoever stands at the door.
    pub message: String,
    /// The ticket, if it is one of this event.
    pub ticket: Option<ScannedTicket>,
    /// With `ok` this one, with `already_used` the one before.
    pub check_in: Option<CheckIn>,
    /// A scanner that was offline has let somebody in all the same, which is recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub is_conflict: bool,
    /// With `wrong_gate`: where its holder comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gates: Vec<NamedGate>,
    /// Whether this scan has recorded something, and was not sent before.
    #[serde(skip)]
    pub is_new: bool,
}

impl Checked {
    pub(super) fn new(result: Verdict, reason: Option<Reason>, message: impl Into<String>) -> Self {
        Checked {
            result,
            reason,
            message: message.into(),
            ticket: None,
            check_in: None,
            is_conflict: false,
            gates: vec![],
            is_new: false,
        }
    }

    /// About that ticket.
    pub(super) fn of(self, ticket: &ScannedTicket) -> Self {
        Checked { ticket: Some(ticket.clone()), ..self }
    }
}

impl From<Gate> for NamedGate {
    fn from(gate: Gate) -> Self {
        NamedGate { id: gate.id, name: gate.name }
    }
}

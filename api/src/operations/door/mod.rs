//! The door of an event: who may let people in, letting them in, and how many are in
//! (docs/door.md).

pub(crate) mod add_staff;
pub(crate) mod check_in;
pub(crate) mod create_door_key;
pub(crate) mod create_gate;
pub(crate) mod delete_gate;
pub(crate) mod get_check_in_counts;
pub(crate) mod get_door;
pub(crate) mod get_ticket_keys;
pub(crate) mod list_conflicts;
pub(crate) mod list_door_keys;
pub(crate) mod list_gates;
pub(crate) mod list_staff;
pub(crate) mod remove_staff;
pub(crate) mod revoke_door_key;
pub(crate) mod search_tickets;
pub(crate) mod undo_check_in;
pub(crate) mod update_gate;
pub(crate) mod upload_check_ins;

use nexus_common::{
    Error, Result,
    types::{
        ids::{DoorKeyId, GateId, ScanId, SeatTypeId, UserId},
        text::joined_lines,
    },
};
use serde_json::Value;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, SchemaFormat, Type};
use uuid::Uuid;

pub(crate) use self::{
    add_staff::AddStaff, check_in::CheckInTicket, create_door_key::CreateDoorKey,
    create_gate::CreateGate, delete_gate::DeleteGate, get_check_in_counts::GetCheckInCounts,
    get_door::GetDoor, get_ticket_keys::GetTicketKeys, list_conflicts::ListConflicts,
    list_door_keys::ListDoorKeys, list_gates::ListGates, list_staff::ListStaff,
    remove_staff::RemoveStaff, revoke_door_key::RevokeDoorKey, search_tickets::SearchTickets,
    undo_check_in::UndoCheckIn, update_gate::UpdateGate, upload_check_ins::UploadCheckIns,
};
use crate::http::{
    fields::{Field, Id, field, some_text},
    lenient::to_id,
    texts::text,
};

text!(GateName = "name", at most 100, cleaned by joined_lines, some_text("North entrance"));
text!(
    CodeText = "text", at most 4_096, cleaned by joined_lines,
    some_text("NX1-3PBJQJIAAAAAOAAAAAU7777777777776QBLV4LO5AWY4UJW2LBGA56JKVG43XGLQ47BZOIARG743LSNXPN2VTO2ES26T2MUN6ERIAC24LOQZPSG7NRH42YQZXRFICO55YQF6UAI")
);
text!(
    TicketIdText = "ticket_id", at most 255, cleaned by joined_lines,
    some_text("TKT-BKG-2026-1130-101500-AB12-V1")
);
text!(DeviceName = "name", at most 100, cleaned by joined_lines, some_text("Phone of gate 2"));

field!(
    /// Names a scan; whatever is no UUID is refused.
    Scan: ScanId = |value| value.as_str().and_then(|text| Uuid::try_parse(text.trim()).ok()).map(ScanId),
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .max_length(Some(64))
        .description(Some("A UUID that the device chooses for each scan, and sends again with the same scan."))
);
field!(
    /// Seat types, by their ids.
    SeatTypes: Vec<SeatTypeId> = seat_type_ids,
    ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(i32::MAX)))
        .max_items(Some(MOST_TYPES))
        .description(Some("The seat types that come in here; empty and null: all of them."))
);

/// As many as an event can have.
const MOST_TYPES: usize = 100;

fn seat_type_ids(value: &Value) -> Option<Vec<SeatTypeId>> {
    let ids = value.as_array().filter(|ids| ids.len() <= MOST_TYPES)?;
    ids.iter().map(|id| id.as_i64().and_then(to_id).map(SeatTypeId)).collect()
}

/// The seat types of a gate; `None`: all.
fn seat_types(field: Option<&SeatTypes>) -> Result<Option<Vec<SeatTypeId>>> {
    let unreadable = || Error::invalid("seat_type_ids must be a list of at most 100 ids");
    let types = field.map(|field| field.read().ok_or_else(unreadable)).transpose()?;
    let types = types.map(|mut types| {
        types.sort_unstable();
        types.dedup();
        types
    });
    Ok(types.filter(|types| !types.is_empty()))
}

/// The gate of a request's path.
fn gate(id: &Id) -> Result<GateId> {
    id.read().map(GateId).ok_or(Error::GateNotFound)
}

/// The gate of a request's body, where there may be none.
fn optional_gate(id: &Option<Id>) -> Result<Option<GateId>> {
    let id = id.as_ref().filter(|id| id.get().is_some());
    id.map(gate).transpose()
}

/// The door key of a request's path.
fn door_key(id: &Id) -> Result<DoorKeyId> {
    id.read().map(DoorKeyId).ok_or(Error::DoorKeyNotFound)
}

/// The member of staff of a request's path.
fn member(id: &Id) -> Result<UserId> {
    id.read().map(UserId).ok_or(Error::StaffNotFound)
}

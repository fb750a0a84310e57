//! Waiting rooms: joining one, and where everybody is (docs/waiting-room.md).

pub(crate) mod get_draw;
pub(crate) mod get_queue;
pub(crate) mod join_queue;
pub(crate) mod leave_queue;

pub(crate) use self::{
    get_draw::GetDraw, get_queue::GetQueue, join_queue::JoinQueue, leave_queue::LeaveQueue,
};

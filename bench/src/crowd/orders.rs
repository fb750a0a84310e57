//! What the driver may ask of a crowd: one JSON object a line, with the order's name as `order`.
//! Each is answered once, and one after the other.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

/// An order.
#[derive(Debug, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// More clients: `{connected, failed, why?, seconds, rate}` when none is on its way any more.
    Connect(Connect),
    /// From now on, notes when each client first receives that event, with that text in it.
    Arm { event: String, contains: Option<String> },
    /// Waits until so many clients have received what they were armed for, 30 seconds by default:
    /// `{clients, first, median, last}`, the times in microseconds since 1970.
    Expect { clients: usize, patience: Option<f64> },
    /// What has been received since this was asked last: `{<event>: {frames, bytes}}`.
    Counts,
    /// Lets some clients send a packet whenever they have the response to the last one, for so many
    /// seconds: `{rate, p50, p99}`, per second and in milliseconds.
    Exchange { clients: usize, packet: String, response: String, seconds: f64 },
    /// Lets some clients read nothing any more, for good: how many do not.
    Stall { count: usize },
    /// Lets some clients leave, or all: how many have.
    Close { count: Option<usize> },
    /// From now on, whether clients that lose their connection come back as the official client
    /// does; forgets what has been counted of that: as `Status`.
    Reconnecting { on: bool },
    /// `{connected, away, lost, came_back, longest_away}`, the last in milliseconds.
    Status,
}

/// More clients.
#[derive(Debug, Deserialize)]
pub struct Connect {
    /// Of the server.
    pub address: SocketAddr,
    /// Where they go, and then in turns, when they have lost their connection: another process, as
    /// a load balancer would have it.
    pub elsewhere: Option<SocketAddr>,
    /// How many.
    pub count: usize,
    /// How many may be on their way at the same time.
    pub at_once: usize,
    /// The handshake's `auth`.
    pub auth: Option<Value>,
    /// The event that each joins before it counts as connected.
    pub join: Option<i32>,
    /// The `Origin` header.
    pub origin: Option<String>,
    /// A websocket by default.
    #[serde(default)]
    pub transport: Transport,
}

/// How packets travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Websocket,
    Polling,
}

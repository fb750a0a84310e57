//! The shop: what buyers do, measured at Nexus and at a shop in Node that does the same.
//!
//! - [`seller`] – whose shop it is; [`store`], its database
//! - [`site`] – the processes of a shop, with buyers and the providers' stand-ins
//! - [`http`], [`sockets`] – clients that cost little, so that they measure others; [`requests`],
//!   what they say
//! - [`load`] – many clients at once
//! - [`rows`] – what is measured: one function for each group of lines of the report

pub mod http;
pub mod load;
pub mod requests;
pub mod rows;
pub mod seller;
pub mod site;
pub mod sockets;
pub mod store;

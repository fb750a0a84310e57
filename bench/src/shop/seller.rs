//! Whose shop is measured.

use std::process::Command;

use anyhow::Result;

use crate::{
    release::Release,
    servers::{Servers, node, script},
};

/// Whose shop it is.
#[derive(Debug, Clone)]
pub enum Seller {
    /// The shop in `bench/node`.
    Node,
    /// An earlier release of Nexus.
    Before(Release),
    Nexus(Release),
}

/// The worker binaries of Nexus that a sale needs.
const WORKERS: [&str; 3] = ["payments", "bookings", "notifications"];

impl Seller {
    /// As reports name it.
    pub fn name(&self) -> &'static str {
        match self {
            Seller::Node => "Node",
            Seller::Before(_) => "Nexus before",
            Seller::Nexus(_) => "Nexus",
        }
    }

    /// The release, if it is one of Nexus.
    pub fn release(&self) -> Option<&Release> {
        match self {
            Seller::Node => None,
            Seller::Before(release) | Seller::Nexus(release) => Some(release),
        }
    }

    /// The API process.
    pub fn api(&self, servers: &Servers) -> Result<Command> {
        let Some(release) = self.release() else { return Self::node(servers, "api.js") };
        let mut command = servers.command(&release.binary("nexus-api")?, "api")?;
        command.arg("serve");
        Ok(command)
    }

    /// The processes that do the rest of a sale.
    pub fn workers(&self, servers: &Servers) -> Result<Vec<Command>> {
        let Some(release) = self.release() else {
            return Ok(vec![Self::node(servers, "worker.js")?]);
        };
        let worker =
            |name: &&str| servers.command(&release.binary(&format!("nexus-worker-{name}"))?, name);
        WORKERS.iter().map(worker).collect()
    }

    fn node(servers: &Servers, name: &str) -> Result<Command> {
        let mut command = servers.command(&node(), "node")?;
        command.arg(script(&format!("shop/{name}")));
        Ok(command)
    }
}

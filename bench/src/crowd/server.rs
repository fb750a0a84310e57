//! What a crowd connects to: API processes of Nexus, or as many of `node/sockets.js`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nexus_sandbox::{
    ports,
    process::{Process, Signal},
};

use crate::{
    cpu::Cpu,
    servers::{Servers, node, script},
    shop::{
        http::Request,
        requests::{OnSale, lock},
        seller::Seller,
        site::{Site, resident, until_ready},
        store::Store,
    },
};

/// Processes that broadcast to each other's clients, and an event whose seats can be locked.
pub struct Server {
    shop: Option<(Site, Store)>,
    /// All but the API of the site, each with its port.
    others: Vec<(Process, u16)>,
    on_sale: OnSale,
    labels: usize,
}

impl Server {
    /// Starts so many processes of a seller.
    pub async fn open(servers: &Servers, seller: &Seller, processes: usize) -> Result<Self> {
        servers.flush_redis().await?;
        let (mut others, mut on_sale) = (Vec::new(), OnSale { event: 1, seat_type: 1 });
        let shop = match seller {
            Seller::Node => {
                for _ in 0..processes {
                    others.push(node_process(servers, processes > 1).await?);
                }
                None
            }
            Seller::Before(_) | Seller::Nexus(_) => {
                let store = Store::create(servers, seller).await?;
                let site = Site::open(servers, seller, &store, &store.url).await?;
                for _ in 1..processes {
                    others.push(site.another_api(servers, seller).await?);
                }
                on_sale = site.event(1_000_000).await?;
                Some((site, store))
            }
        };
        Ok(Server { shop, others, on_sale, labels: 0 })
    }

    /// The event on sale.
    pub fn event(&self) -> i32 {
        self.on_sale.event
    }

    /// Where the processes listen.
    pub fn ports(&self) -> Vec<u16> {
        let api = self.shop.iter().map(|(site, _)| site.port());
        api.chain(self.others.iter().map(|(_, port)| *port)).collect()
    }

    fn ids(&self) -> Vec<u32> {
        let api = self.shop.iter().map(|(site, _)| site.api());
        api.chain(self.others.iter().map(|(process, _)| process.id())).collect()
    }

    /// Memory of all processes, in MB.
    pub fn memory(&self) -> f64 {
        self.ids().into_iter().map(resident).sum()
    }

    /// What the processes have used so far, in seconds.
    pub fn cpu(&self) -> f64 {
        Cpu::used(&self.ids(), &[], None, None).processes
    }

    /// Stops the last process, as a new release does, or kills it; its clients go to the others.
    pub async fn lose_one(&mut self, signal: Signal) -> Result<()> {
        let (mut process, _) = self.others.pop().context("there is only one process")?;
        process.end(signal, Duration::from_secs(20)).await?;
        Ok(())
    }

    /// A seat that nobody has, and the request that locks it.
    pub fn lock(&mut self) -> (String, Request) {
        self.labels += 1;
        let label = format!("C{}X", self.labels);
        let token = self.shop.as_ref().map_or("none", |(site, _)| site.token(self.labels));
        let request = lock(self.on_sale, &label, token);
        (label, request)
    }

    /// Ends the processes, which have to be running still.
    pub async fn close(self, servers: &Servers) -> Result<()> {
        for (mut process, _) in self.others {
            let ended = process.status();
            ensure!(ended.is_none(), "a process has ended: {ended:?}");
            process.end(Signal::TERM, Duration::from_secs(15)).await?;
        }
        if let Some((site, store)) = self.shop {
            site.close().await?;
            store.drop(servers).await?;
        }
        Ok(())
    }
}

async fn node_process(servers: &Servers, is_one_of_many: bool) -> Result<(Process, u16)> {
    let port = ports::free();
    let mut command = servers.command(&node(), "sockets")?;
    command.arg(script("sockets.js")).env("PORT", port.to_string());
    if is_one_of_many {
        command.env("REDIS_ADAPTER", "1");
    }
    let mut process = Process::spawn(command)?;
    until_ready(&mut process, port).await?;
    Ok((process, port))
}

//! What a sale costs: for each of its steps, what is asked of PostgreSQL and Redis, what is written,
//! and how long processors work for it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use nexus_sandbox::process::Signal;
use tokio::time::sleep;

use crate::{
    counting_line::CountingLine,
    servers::Servers,
    shop::{
        http::{Connection, Request},
        load::{connections, for_so_long},
        requests::{OnSale, book, buy, lock, order, order_id},
        seller::Seller,
        site::Site,
        store::{NAME, Store},
    },
};

/// What is counted, as the table names it.
const COLUMNS: [&str; 12] = [
    "statements",
    "round trips",
    "commits",
    "rows written",
    "… of them HOT",
    "row locks",
    "index entries",
    "WAL, bytes",
    "Redis commands",
    "jobs",
    "PostgreSQL, ms",
    "API and workers, ms",
];

type Counted = [f64; COLUMNS.len()];

/// Each operation, with what one costs.
pub type Costs = Vec<(&'static str, Counted)>;

/// Sales that are looked at one by one.
const FEW: usize = 50;
/// Steps of which each takes little.
const MANY: usize = 200;
/// Clients that lock at once, and buyers that buy at once.
const LOCKING: usize = 64;
const BUYING: usize = 32;
/// After it, everything that an operation has caused is over.
const SETTLES: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(60);

struct Meter<'a> {
    servers: &'a Servers,
    store: &'a Store,
    line: CountingLine,
    site: Site,
    /// What happens in a second without any operation.
    idle: Counted,
    costs: Costs,
}

struct Reading {
    counted: Counted,
    /// Where PostgreSQL's log ends.
    log: String,
    at: Instant,
}

/// Counts what the operations of a release cost.
pub async fn measure(servers: &Servers, seller: &Seller) -> Result<Costs> {
    sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_walinspect").execute(&servers.db).await?;
    // What it writes would be counted as part of whatever operation happens meanwhile.
    let autovacuum = async |value: &str| -> Result<()> {
        let set = format!("ALTER SYSTEM SET autovacuum = {value}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&servers.db).await?;
        sqlx::query("SELECT pg_reload_conf()").execute(&servers.db).await?;
        Ok(())
    };
    autovacuum("off").await?;
    let store = Store::create(servers, seller).await?;
    let line = CountingLine::to(servers.postgres.port()).await?;
    let database = servers.database_url(line.port(), NAME);
    let site = Site::open(servers, seller, &store, &database).await?;
    let idle = [0.0; COLUMNS.len()];
    let mut meter = Meter { servers, store: &store, line, site, idle, costs: Costs::new() };
    meter.operations().await?;
    let Meter { site, costs, .. } = meter;
    site.close().await?;
    store.drop(servers).await?;
    autovacuum("on").await?;
    Ok(costs)
}

impl Meter<'_> {
    async fn operations(&mut self) -> Result<()> {
        self.store.events(100, self.site.buyers[0]).await?;
        let on_sale = self.site.event(1_000_000).await?;
        // Statements are prepared, and pages have been written since the last checkpoint.
        self.servers.settle().await?;
        sell(&self.site, on_sale, "X", BUYING, 4 * BUYING).await?;
        sqlx::query("ANALYZE").execute(&self.store.db).await?;
        sleep(SETTLES).await;
        let (before, idle) = (self.read().await?, Duration::from_secs(3));
        sleep(idle).await;
        let after = self.read().await?;
        self.idle = self.between(&before, &after).await?.map(|used| used / idle.as_secs_f64());

        let label = |number: usize| format!("A{number}");
        let token = |site: &Site, number: usize| site.token(number).to_owned();
        self.cost("lock of a seat", MANY, async |site| {
            each(site, 1, MANY, async |number, connection| {
                let request = lock(on_sale, &label(number), &token(site, number));
                connection.call(&request).await?.success()
            })
            .await
        })
        .await?;
        let locks = LOCKING * 16;
        self.cost("… one of 64 at once", locks, async |site| {
            each(site, LOCKING, locks, async |number, connection| {
                let request = lock(on_sale, &format!("G{number}"), &token(site, number));
                connection.call(&request).await?.success()
            })
            .await
        })
        .await?;
        let booked = Cell::new(Vec::new());
        self.cost("booking", MANY, async |site| {
            each(site, 1, MANY, async |number, connection| {
                let request = book(on_sale, &label(number), &token(site, number));
                let mut all = booked.take();
                all.push(connection.call(&request).await?.json()?);
                booked.set(all);
                Ok(())
            })
            .await
        })
        .await?;
        let (booked, ordered) = (booked.take(), Cell::new(Vec::new()));
        self.cost("order", MANY, async |site| {
            each(site, 1, MANY, async |number, connection| {
                let request = order(&booked[number - 1], &token(site, number));
                let mut all = ordered.take();
                all.push(order_id(&connection.call(&request).await?.json()?)?);
                ordered.set(all);
                Ok(())
            })
            .await
        })
        .await?;
        let orders = ordered.take();
        self.site.signal_workers(Signal::STOP);
        self.cost("webhook, stored", MANY, async |site| {
            each(site, 1, MANY, async |number, connection| {
                connection.call(&site.captured(&orders[number - 1])).await?.success()
            })
            .await
        })
        .await?;
        let mails = self.site.mails();
        self.site.signal_workers(Signal::CONT);
        self.cost("… to the mailed ticket, one of 200 at once", MANY, async |site| {
            until_mailed(site, mails + MANY as u64).await
        })
        .await?;

        let orders = try_join_all((0..FEW).map(async |number| {
            let mut connection = Connection::open(self.site.port()).await?;
            buy(&mut connection, on_sale, &format!("B{number}"), self.site.token(number)).await
        }));
        let orders = orders.await?;
        sleep(SETTLES).await;
        self.cost("webhook to mailed ticket, one by one", FEW, async |site| {
            each(site, 1, FEW, async |number, connection| {
                let mails = site.mails();
                connection.call(&site.captured(&orders[number - 1])).await?.success()?;
                until_mailed(site, mails + 1).await
            })
            .await
        })
        .await?;
        self.cost("whole purchase, one by one", FEW, async |site| {
            each(site, 1, FEW, async |number, connection| {
                let (mails, label) = (site.mails(), format!("C{number}"));
                let order = buy(connection, on_sale, &label, site.token(number)).await?;
                connection.call(&site.captured(&order)).await?.success()?;
                until_mailed(site, mails + 1).await
            })
            .await
        })
        .await?;
        let purchases = 16 * BUYING;
        self.cost("… one of 32 at once", purchases, async |site| {
            sell(site, on_sale, "D", BUYING, purchases).await
        })
        .await?;
        for (what, path) in
            [("event read", format!("events/{}", on_sale.event)), ("event list", "events".into())]
        {
            let request = Request::get(&path, None);
            self.cost(what, MANY, async |site| {
                each(site, 1, MANY, async |_, connection| {
                    connection.call(&request).await?.success()
                })
                .await
            })
            .await?;
        }
        Ok(())
    }

    async fn cost(
        &mut self,
        what: &'static str,
        count: usize,
        operations: impl AsyncFnOnce(&Site) -> Result<()>,
    ) -> Result<()> {
        let before = self.read().await?;
        operations(&self.site).await?;
        sleep(SETTLES).await;
        let after = self.read().await?;
        let seconds = (after.at - before.at).as_secs_f64();
        let mut counted = self.between(&before, &after).await?;
        for (used, idle) in counted.iter_mut().zip(self.idle) {
            *used = (*used - idle * seconds).max(0.0) / count as f64;
        }
        eprintln!("    {what}: {counted:.1?}");
        self.costs.push((what, counted));
        Ok(())
    }

    async fn read(&self) -> Result<Reading> {
        let jobs: i64 =
            sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&self.store.db).await?;
        let stats: String = redis::cmd("INFO")
            .arg("stats")
            .query_async(&mut self.servers.redis_connection().await?)
            .await?;
        let commands =
            stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        let cpu = self.site.cpu();
        let mut counted = [0.0; COLUMNS.len()];
        counted[0] = self.line.statements() as f64;
        counted[1] = self.line.round_trips() as f64;
        counted[8] = commands.and_then(|commands| commands.trim().parse().ok()).unwrap_or(f64::NAN);
        counted[9] = jobs as f64;
        counted[10] = cpu.postgres * 1000.0;
        counted[11] = (cpu.processes + cpu.workers) * 1000.0;
        // Committed synchronously, so that the log is on the disk up to here.
        sqlx::query("SELECT pg_logical_emit_message(TRUE, 'bench', '')")
            .execute(&self.servers.db)
            .await?;
        let log = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text");
        Ok(Reading { counted, log: log.fetch_one(&self.servers.db).await?, at: Instant::now() })
    }

    async fn between(&self, before: &Reading, after: &Reading) -> Result<Counted> {
        // Full page images are left out: they depend on the time since the last checkpoint.
        let records: Vec<(String, i64, i64)> = sqlx::query_as(
            r#"SELECT "resource_manager/record_type", count, record_size::bigint
               FROM pg_get_wal_stats($1::pg_lsn, $2::pg_lsn, TRUE) WHERE count > 0"#,
        )
        .bind(&before.log)
        .bind(&after.log)
        .fetch_all(&self.servers.db)
        .await?;
        let count = |kinds: &[&str]| {
            let is_one = |name: &str| kinds.contains(&name.trim_end_matches("+INIT"));
            records.iter().filter(|(name, ..)| is_one(name)).map(|(_, count, _)| count).sum::<i64>()
        };
        let mut counted = after.counted;
        for (used, before) in counted.iter_mut().zip(before.counted) {
            *used -= before;
        }
        counted[2] = count(&["Transaction/COMMIT"]) as f64;
        counted[3] = count(&[
            "Heap/INSERT",
            "Heap2/MULTI_INSERT",
            "Heap/UPDATE",
            "Heap/HOT_UPDATE",
            "Heap/DELETE",
        ]) as f64;
        counted[4] = count(&["Heap/HOT_UPDATE"]) as f64;
        counted[5] = count(&["Heap/LOCK", "Heap2/LOCK_UPDATED"]) as f64;
        counted[6] =
            count(&["Btree/INSERT_LEAF", "Btree/INSERT_POST", "Btree/SPLIT_L", "Btree/SPLIT_R"])
                as f64;
        counted[7] = records.iter().map(|(.., size)| *size as f64).sum();
        Ok(counted)
    }
}

/// So many operations, by so many clients at once.
async fn each(
    site: &Site,
    clients: usize,
    count: usize,
    operation: impl AsyncFn(usize, &mut Connection) -> Result<()>,
) -> Result<()> {
    let next = Cell::new(0_usize);
    let client = async |mut connection: Connection| -> Result<()> {
        while next.get() < count {
            next.set(next.get() + 1);
            operation(next.get(), &mut connection).await?;
        }
        Ok(())
    };
    try_join_all(connections(site.port(), clients).await?.into_iter().map(client)).await?;
    Ok(())
}

/// So many whole sales; returns when the tickets have been mailed.
async fn sell(
    site: &Site,
    on_sale: OnSale,
    letter: &str,
    buyers: usize,
    sales: usize,
) -> Result<()> {
    let mails = site.mails();
    each(site, buyers, sales, async |number, connection| {
        let label = format!("{letter}{number}");
        let order = buy(connection, on_sale, &label, site.token(number)).await?;
        connection.call(&site.captured(&order)).await?.success()
    })
    .await?;
    until_mailed(site, mails + sales as u64).await
}

async fn until_mailed(site: &Site, mails: u64) -> Result<()> {
    let goes_on = for_so_long(PATIENCE);
    while site.mails() < mails {
        ensure!(goes_on(), "{} of {mails} tickets have been mailed", site.mails());
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The table of a release, beside that of an earlier one.
pub fn table(before: Option<&Costs>, after: &Costs) -> String {
    let mut text = format!("| | {} |\n|---|", COLUMNS.join(" | "));
    text += &"---|".repeat(COLUMNS.len());
    text.push('\n');
    for (row, (what, counted)) in after.iter().enumerate() {
        let earlier = before.and_then(|before| before.get(row)).map(|(_, counted)| counted);
        let cell = |column: usize| match earlier {
            Some(earlier) => format!("{} → {}", short(earlier[column]), short(counted[column])),
            None => short(counted[column]),
        };
        let cells: Vec<String> = (0..COLUMNS.len()).map(cell).collect();
        text += &format!("| {what} | {} |\n", cells.join(" | "));
    }
    text
}

/// Two digits that mean something.
fn short(value: f64) -> String {
    match value {
        value if value < 0.05 => "0".into(),
        value if value < 9.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

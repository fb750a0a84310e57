//! What operators do with the keys of tickets on the command line. It needs only the database; a
//! private half is printed once, and kept by whoever keeps secrets.

use anyhow::Context;
use clap::Subcommand;
use nexus_common::{
    config::{self, Env},
    storage::postgres,
    tickets::{codes::SigningKey, keys},
};
use nexus_ticket_code::{KeyId, PublicKey};
use secrecy::ExposeSecret;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key: print it for the bookings worker's settings, and let every door know its public
    /// half before it signs anything.
    New,
    /// List the keys, the newest first.
    List,
    /// Let every door know a key from before there was this list.
    Add {
        /// What the bookings worker has logged as `public_key`.
        public_key: String,
    },
    /// Revoke a key that others may have: what it has signed is refused, and issued anew with the
    /// bookings worker's present key. Give the worker another one first.
    Revoke {
        /// The key's id.
        id: String,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let database = Env::read().load(|env| config::Database::from_env(env, 2))?;
    let pool = postgres::pool(&database, "nexus-api operator");
    match command {
        Command::New => {
            let (key, secret) = SigningKey::generate();
            let mut tx = pool.begin().await?;
            keys::add(&mut tx, &key.public()).await?;
            tx.commit().await?;
            println!("TICKET_SIGNING_KEY={}", secret.expose_secret());
            eprintln!("The id of its public half is {}.", key.public().id());
        }
        Command::List => {
            for key in keys::all(&mut *pool.acquire().await?).await? {
                let (id, since) = (key.public.id(), key.added_at.0.format("%F"));
                let revoked = key.revoked_at.map(|at| format!(" revoked {}", at.0.format("%F")));
                println!("{id} {} since {since}{}", key.public, revoked.unwrap_or_default());
            }
        }
        Command::Add { public_key } => {
            let key = PublicKey::parse(public_key.trim());
            let key = key.context("a public key is 32 bytes in base64")?;
            let mut tx = pool.begin().await?;
            let is_new = keys::add(&mut tx, &key).await?;
            tx.commit().await?;
            println!("Key {} is known{}.", key.id(), if is_new { " now" } else { " already" });
        }
        Command::Revoke { id } => {
            let key: KeyId = id.trim().parse()?;
            let mut tx = pool.begin().await?;
            let events = keys::revoke(&mut tx, key).await?;
            let events = events.with_context(|| format!("there is no key {key}"))?;
            tx.commit().await?;
            println!("Key {key} is revoked.");
            // Some at a time, so that nobody waits for all of them; whoever is interrupted here says
            // it again.
            let mut tickets = 0;
            let mut conn = pool.acquire().await?;
            for event in events {
                loop {
                    match keys::give_up(&mut conn, event, key).await? {
                        0 => break,
                        some => tickets += some,
                    }
                }
            }
            println!("{tickets} ticket(s) of events that are not over will be issued anew.");
        }
    }
    Ok(())
}

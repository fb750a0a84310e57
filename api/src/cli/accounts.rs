//! What operators do to accounts on the command line. It needs only the database; with REDIS_URL,
//! Redis hears of the changes, too.

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use nexus_common::{
    accounts::{
        credentials::Login,
        email_proofs,
        hints::TokenHints,
        operators,
        roles::{self, Holder, Role},
        sessions, suspension, users,
    },
    audit::{self, Action, Operator},
    config::{self, Env, TokenStorage},
    events::takedown,
    jobs::{self, notifications::EmailReplaced},
    storage::{Cache, postgres},
    tickets::delivery,
    types::{
        contacts::Email,
        ids::{EventId, UserId},
    },
};
use serde_json::json;
use sqlx::PgConnection;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say what an account may do: an admin sees and uses `/admin`, an auditor sees it, an organiser may create events where
    /// EVENT_CREATION=organisers.
    SetRole {
        /// The account's id, e-mail address or phone number.
        account: String,
        /// Which role.
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Give an operator a secret for their authenticator app, without which nobody gets into
    /// `/admin`; it is shown only now.
    OperatorTotp {
        /// The account's id, e-mail address or phone number.
        account: String,
        /// There is one already, which is lost: it is worth nothing from now on.
        #[arg(long)]
        replace: bool,
    },
    /// Suspend an account at once: its tokens are worth nothing, and nobody can log in to it. What it
    /// has paid stays valid.
    Suspend {
        /// The account's id, e-mail address or phone number.
        account: String,
        /// Why, for the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Let the owner of a suspended account log in again.
    Reinstate {
        /// The account's id, e-mail address or phone number.
        account: String,
    },
    /// Take an event down at once: nobody but its organiser sees it, and nothing of it is on sale.
    TakeDown {
        /// The event's id.
        event: i32,
        /// Why, for the audit log.
        #[arg(long)]
        reason: String,
    },
    /// Make an event that was taken down what its organiser says that it is.
    Restore {
        /// The event's id.
        event: i32,
    },
    /// List who is an admin, an auditor or an organiser.
    ListAdmins,
    /// Show an account: its role, who gave it which one, and its open sessions.
    ShowAccount {
        /// The account's id, e-mail address or phone number.
        account: String,
    },
    /// Give an account another e-mail address, such as one without a typing error. The account gets
    /// mail there once it has proved the address, for which a mail is sent to it.
    SetEmail {
        /// The account's id, e-mail address or phone number.
        account: String,
        /// The new address.
        email: String,
        /// You know that it is the account's owner's: it counts as proved at once.
        #[arg(long)]
        proved: bool,
    },
    /// End every session of an account at once: its tokens are worth nothing any more.
    EndSessions {
        /// The account's id, e-mail address or phone number.
        account: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    User,
    Organiser,
    Auditor,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::User => Role::User,
            RoleName::Organiser => Role::Organiser,
            RoleName::Auditor => Role::Auditor,
            RoleName::Admin => Role::Admin,
        }
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (database, cache) = Env::read().load(|env| {
        let storage = TokenStorage::from_env(env);
        (
            config::Database::from_env(env, 2),
            config::Redis::optional(env).map(|redis| (redis, storage)),
        )
    })?;
    let pool = postgres::pool(&database, "nexus-api operator");
    let mut conn = pool.acquire().await?;
    match command {
        Command::SetRole { account, role } => {
            let role = Role::from(role);
            let (user, is_certain) = named(&mut conn, &account).await?;
            // Anybody can register with somebody else's address.
            if !is_certain {
                bail!(
                    "user {user} has not proved {account}: if it is theirs, name them by their id"
                );
            }
            drop(conn);
            let mut tx = pool.begin().await?;
            roles::set(&mut tx, user, role).await?;
            tx.commit().await?;
            println!("User {user} is {} now.", role.name());
        }
        Command::OperatorTotp { account, replace } => {
            let holder = find(&mut conn, &account).await?;
            if !matches!(holder.role, Role::Admin | Role::Auditor) {
                bail!("user {} is no admin or auditor: give them the role first", holder.id);
            }
            drop(conn);
            let mut tx = pool.begin().await?;
            let secret = operators::set_totp(&mut tx, holder.id, replace).await?;
            let secret =
                secret.context("there is a secret already; --replace makes it worthless")?;
            tx.commit().await?;
            println!("secret {}", secret.base32());
            println!("{}", secret.uri(&holder.id.to_string()));
        }
        Command::Suspend { account, reason } => {
            let holder = find(&mut conn, &account).await?;
            drop(conn);
            let mut tx = pool.begin().await?;
            let by = Operator::CommandLine;
            let ended = suspension::suspend(&mut tx, holder.id, &reason, by).await?;
            let ended =
                ended.with_context(|| format!("user {} is suspended already", holder.id))?;
            tx.commit().await?;
            if let Some((redis, storage)) = cache {
                TokenHints::new(Cache::new(&redis)?, storage).end_sessions(holder.id, &ended).await;
            }
            println!("User {} is suspended; {} session(s) have ended.", holder.id, ended.count);
        }
        Command::Reinstate { account } => {
            let holder = find(&mut conn, &account).await?;
            drop(conn);
            let mut tx = pool.begin().await?;
            if !suspension::reinstate(&mut tx, holder.id, Operator::CommandLine).await? {
                bail!("user {} is not suspended", holder.id);
            }
            tx.commit().await?;
            println!("User {} may log in again.", holder.id);
        }
        Command::TakeDown { event, reason } => {
            drop(conn);
            let mut tx = pool.begin().await?;
            let by = Operator::CommandLine;
            if !takedown::take_down(&mut tx, EventId(event), &reason, by).await? {
                bail!("there is no event {event} that is up");
            }
            tx.commit().await?;
            println!("Event {event} is taken down.");
        }
        Command::Restore { event } => {
            drop(conn);
            let mut tx = pool.begin().await?;
            if !takedown::restore(&mut tx, EventId(event), Operator::CommandLine).await? {
                bail!("event {event} is not taken down");
            }
            tx.commit().await?;
            println!("Event {event} is restored.");
        }
        Command::ListAdmins => {
            for holder in roles::holders(&mut conn).await? {
                println!("{}", line(&holder));
            }
        }
        Command::ShowAccount { account } => show(&mut conn, &account).await?,
        Command::SetEmail { account, email, proved } => {
            let holder = find(&mut conn, &account).await?;
            let email =
                Email::parse(email.trim()).context("mail cannot be sent to such an address")?;
            drop(conn);
            let mut tx = pool.begin().await?;
            let before = holder.email.as_deref().unwrap_or("none");
            let said = if proved {
                let replaced = email_proofs::set(&mut tx, holder.id, &email).await?;
                if let Some(to) = replaced {
                    jobs::enqueue(&mut tx, &EmailReplaced { user_id: holder.id, to }).await?;
                }
                delivery::deliver_waiting(&mut tx, holder.id).await?;
                format!("was {before} and is {} now", email.as_str())
            } else {
                email_proofs::begin(&mut tx, holder.id, email.as_str()).await?;
                format!("is {before}, and will be {} once its owner has proved it", email.as_str())
            };
            let details = json!({ "proved": proved });
            audit::record(&mut tx, Action::EmailSet, None, holder.id, details).await?;
            tx.commit().await?;
            println!("The e-mail address of user {} {said}.", holder.id);
        }
        Command::EndSessions { account } => {
            let holder = find(&mut conn, &account).await?;
            drop(conn);
            let mut tx = pool.begin().await?;
            let ended = sessions::end_sessions(&mut tx, holder.id).await?;
            let details = json!({ "sessions": ended.count });
            audit::record(&mut tx, Action::SessionsEnded, None, holder.id, details).await?;
            tx.commit().await?;
            if let Some((redis, storage)) = cache {
                TokenHints::new(Cache::new(&redis)?, storage).end_sessions(holder.id, &ended).await;
            }
            println!("{} session(s) of user {} have ended.", ended.count, holder.id);
        }
    }
    Ok(())
}

async fn show(conn: &mut PgConnection, account: &str) -> anyhow::Result<()> {
    let holder = find(conn, account).await?;
    println!("{}", line(&holder));
    println!("registered {}", holder.created_at.format("%F %T UTC"));
    if let Some(since) = holder.suspended_at {
        println!("suspended since {}", since.format("%F %T UTC"));
    }
    println!("{} open session(s)", sessions::open_sessions(conn, holder.id).await?);
    for change in roles::history(conn, holder.id).await? {
        let roles::Change { role_before, role_after, changed_by, changed_at } = change;
        println!(
            "{} {role_before} -> {role_after} by {changed_by}",
            changed_at.format("%F %T UTC")
        );
    }
    Ok(())
}

async fn find(conn: &mut PgConnection, account: &str) -> anyhow::Result<Holder> {
    let (user, _) = named(conn, account).await?;
    roles::holder(conn, user).await?.with_context(|| unknown(account))
}

/// The account that an operator means, and whether it is certain whose it is.
async fn named(conn: &mut PgConnection, account: &str) -> anyhow::Result<(UserId, bool)> {
    // A phone number has more digits.
    if let Ok(id) = account.parse()
        && roles::holder(conn, UserId(id)).await?.is_some()
    {
        return Ok((UserId(id), true));
    }
    let login = Login::of(account)
        .context("this is neither an id nor an e-mail address nor a phone number")?;
    match &users::find(conn, &login, "").await?[..] {
        [] => bail!(unknown(account)),
        [account] => Ok((account.user.id, account.proved)),
        several => {
            let ids: Vec<_> = several.iter().map(|account| account.user.id.to_string()).collect();
            let ids = ids.join(", ");
            bail!("users {ids} claim {account}, and none has proved it: name one by its id")
        }
    }
}

fn unknown(account: &str) -> String {
    format!("there is no account {account}")
}

fn line(holder: &Holder) -> String {
    let contacts = [(&holder.email, holder.email_verified), (&holder.phone, holder.phone_verified)];
    let known_as = contacts.into_iter().filter_map(|(contact, proved)| {
        let contact = contact.as_deref()?;
        Some(if proved { contact.to_owned() } else { format!("{contact} (not proved)") })
    });
    format!("{} {} {}", holder.id, holder.role, known_as.collect::<Vec<_>>().join(" "))
}

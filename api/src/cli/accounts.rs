//! What operators do to accounts on the command line. It needs only the database; with REDIS_URL,
//! Redis hears of the changes, too.

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use nexus_common::{
    accounts::{
        credentials::Login,
        hints::TokenHints,
        roles::{self, Holder, Role},
        sessions, users,
    },
    config::{self, Env, TokenStorage},
    storage::{Cache, postgres},
    types::contacts::Email,
};
use sqlx::PgConnection;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say what an account may do: an admin sees `/admin`, an organiser may create events where
    /// EVENT_CREATION=organisers.
    SetRole {
        /// The account's e-mail address or phone number.
        account: String,
        /// Which role.
        #[arg(value_enum)]
        role: RoleName,
    },
    /// List who is an admin or an organiser.
    ListAdmins,
    /// Show an account: its role, who gave it which one, and its open sessions.
    ShowAccount {
        /// The account's e-mail address or phone number.
        account: String,
    },
    /// Give an account another e-mail address, such as one without a typing error.
    SetEmail {
        /// The account's e-mail address or phone number.
        account: String,
        /// The new address.
        email: String,
    },
    /// End every session of an account at once: its tokens are worth nothing any more.
    EndSessions {
        /// The account's e-mail address or phone number.
        account: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    User,
    Organiser,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::User => Role::User,
            RoleName::Organiser => Role::Organiser,
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
            let user = roles::set(&mut conn, &login(&account)?, role).await?;
            let user = user.with_context(|| unknown(&account))?;
            println!("User {user} is {} now.", role.name());
        }
        Command::ListAdmins => {
            for holder in roles::holders(&mut conn).await? {
                println!("{}", line(&holder));
            }
        }
        Command::ShowAccount { account } => show(&mut conn, &account).await?,
        Command::SetEmail { account, email } => {
            let holder = find(&mut conn, &account).await?;
            let email =
                Email::parse(email.trim()).context("mail cannot be sent to such an address")?;
            let before = users::set_email(&mut conn, holder.id, &email).await?;
            let before = before.as_deref().unwrap_or("none");
            println!(
                "The e-mail address of user {} was {before} and is {} now.",
                holder.id,
                email.as_str()
            );
        }
        Command::EndSessions { account } => {
            let holder = find(&mut conn, &account).await?;
            drop(conn);
            let mut tx = pool.begin().await?;
            let ended = sessions::end_sessions(&mut tx, holder.id).await?;
            tx.commit().await?;
            if let Some((redis, storage)) = cache {
                TokenHints::new(Cache::new(&redis)?, storage).end_sessions(holder.id, &ended).await;
            }
            println!("{} session(s) of user {} have ended.", ended.refresh_tokens.len(), holder.id);
        }
    }
    Ok(())
}

async fn show(conn: &mut PgConnection, account: &str) -> anyhow::Result<()> {
    let holder = find(conn, account).await?;
    println!("{}", line(&holder));
    println!("registered {}", holder.created_at.format("%F %T UTC"));
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
    roles::holder(conn, &login(account)?).await?.with_context(|| unknown(account))
}

fn login(account: &str) -> anyhow::Result<Login> {
    Login::of(account).context("this is neither an e-mail address nor a phone number")
}

fn unknown(account: &str) -> String {
    format!("there is no account {account}")
}

fn line(holder: &Holder) -> String {
    let known_as = [&holder.email, &holder.phone].into_iter().flatten().map(String::as_str);
    format!("{} {} {}", holder.id, holder.role, known_as.collect::<Vec<_>>().join(" "))
}

//! The PostgreSQL pool and the migrations.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::{
    Connection, PgConnection, PgPool, PgTransaction,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, types::PgInterval},
};

use crate::{
    config::Database,
    error::{Error, Result, is_collision},
};

/// The migrations in `migrations/`, compiled into the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// A pool that connects on first use, so that a process starts (and reports itself not ready) while
/// PostgreSQL is away.
pub fn pool(settings: &Database, process: &str) -> PgPool {
    // No statement of a request may hold a connection, or wait for a lock, for long.
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    let options = options(settings, process).options([
        ("statement_timeout", milliseconds(settings.statement_timeout)),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
        ("idle_in_transaction_session_timeout", milliseconds(2 * settings.statement_timeout)),
    ]);
    // Every statement has one plan, which a connection makes once. PostgreSQL would make another
    // one at each call of those with arrays, which takes longer than to find a few rows. And a plan
    // that was made while a table was small would read it from end to end, over and over, until
    // PostgreSQL notices that it has grown. (Where there is no index, the table is read all the
    // same, at a price that would make the query look worth compiling.)
    let options = options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        // Triggers need not do what this process does itself (migrations/0014_sales.sql).
        ("nexus.records_orders", "on"),
    ]);
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .idle_timeout(settings.idle)
        .max_lifetime(settings.max_lifetime)
        // To ask first whether a connection is still there would cost each of its users a round
        // trip.
        .test_before_acquire(false)
        .before_acquire(|conn, connection| {
            Box::pin(async move {
                if connection.idle_for > FRESH {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        // Cleans up a connection whose call was interrupted before others may have it. A server
        // that has vanished silently does not answer that, and its connections must not be missing
        // for as long as TCP keeps trying, which is a quarter of an hour.
        .after_release(|conn, _| {
            Box::pin(async move {
                let pinged = tokio::time::timeout(RELEASE, conn.ping()).await;
                pinged.unwrap_or_else(|_| {
                    Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
                })?;
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// A connection that was used within this time is taken to be there still: PostgreSQL takes longer
/// to restart, which ends all connections. Should PostgreSQL have stopped answering since, what most
/// requests do first, read or [`begin`], ends [`promptly`].
pub const FRESH: Duration = Duration::from_millis(100);

const RELEASE: Duration = Duration::from_secs(5);

/// A server that takes longer to accept a connection is away.
const CONNECTING: Duration = Duration::from_secs(10);

/// Longer than PostgreSQL lets a statement run: a server that has not answered by then never will.
const CALL: Duration = Duration::from_secs(20);

/// A call to PostgreSQL or Redis that ends even if the server never answers: PostgreSQL's time-outs
/// do not help when it is frozen or unreachable.
pub async fn bounded<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    within(CALL, call).await
}

/// Longer than PostgreSQL takes for what waits for nobody's locks.
const PROMPT: Duration = Duration::from_secs(5);

/// Like [`bounded`], for a call that waits for nobody's locks: one that reads, or begins a
/// transaction.
pub async fn promptly<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    within(PROMPT, call).await
}

/// The same for a call that has to get a connection of `db` first.
pub async fn promptly_from<T>(db: &PgPool, call: impl Future<Output = Result<T>>) -> Result<T> {
    within(db.options().get_acquire_timeout() + PROMPT, call).await
}

/// Begins a transaction, if PostgreSQL answers [`promptly`].
///
/// BEGIN is sent by a task of its own, which goes on when the caller does not: whoever stops
/// waiting for it leaves a connection in a transaction that sqlx does not know of, and would not
/// end. A caller who leaves before there is a connection takes none.
pub async fn begin(db: &PgPool) -> Result<PgTransaction<'static>> {
    let conn = db.acquire().await?;
    let begin = async { Ok(PgTransaction::begin(conn, None).await?) };
    let begun = tokio::spawn(bounded(begin));
    promptly(async { begun.await.map_err(Error::internal)? }).await
}

/// Like [`bounded`], but no longer than `limit`.
pub async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|elapsed| Err(Error::Unavailable(Box::new(elapsed))))
}

/// The time by PostgreSQL's clock, which decides about every deadline: the clocks of processes may
/// differ, and jump.
pub async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(conn).await?)
}

/// The longest time that a migration waits for a lock, and so blocks all who want the same table
/// after it.
const MIGRATION_LOCK: Duration = Duration::from_secs(2);
/// The first and the longest pause before a blocked migration starts again.
const MIGRATION_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A migration that has been blocked for this long gives up: an operator must look at what blocks
/// it.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(3600);

/// What to do about a database that has had other migrations than ours.
const OTHER_MIGRATIONS: &str = "Either a newer release has migrated this database, and there is \
    nothing for this one to do; or a build from before the first release has, whose data cannot be \
    kept: `make clean-data` removes what `make run` has stored";

/// Brings the schema up to date; safe from several processes at once (sqlx holds an advisory lock),
/// and while others use the database.
///
/// When another session holds a lock, a dump for instance, the migration waits in short attempts
/// with pauses between them: PostgreSQL queues every later request for the table behind a waiting
/// one. `waiting` is told before each pause what blocks the migration.
pub async fn migrate(settings: &Database, mut waiting: impl FnMut(String)) -> Result<()> {
    let began = Instant::now();
    let mut pause = MIGRATION_PAUSES.0;
    loop {
        let options = options(settings, "nexus-migrate")
            .options([("lock_timeout", MIGRATION_LOCK.as_millis().to_string())]);
        let connecting = tokio::time::timeout(CONNECTING, PgConnection::connect_with(&options));
        let mut conn = connecting
            .await
            .map_err(|_| Error::Unavailable("PostgreSQL does not answer".into()))??;
        match MIGRATIONS.run(&mut conn).await {
            Err(MigrateError::ExecuteMigration(error, _) | MigrateError::Execute(error))
                if is_in_the_way(&error) && began.elapsed() < MIGRATION_PATIENCE =>
            {
                let others = long_transactions(&mut conn).await?;
                waiting(format!("{error}; again in {pause:?}. Open transactions: {others}"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MIGRATION_PAUSES.1);
            }
            Err(error @ (MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_))) => {
                return Err(Error::internal(format!("{error}. {OTHER_MIGRATIONS}")));
            }
            result => return result.map_err(|error| Error::Internal(Box::new(error))),
        }
    }
}

/// Whether a statement failed because another session held what it wanted.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    is_collision(error)
        || error.as_database_error().and_then(|error| error.code()).as_deref()
            == Some(LOCK_NOT_AVAILABLE)
}

/// The oldest transactions of other sessions, in a form in which an operator can find them.
async fn long_transactions(conn: &mut PgConnection) -> Result<String> {
    Ok(sqlx::query_scalar!(
        r#"SELECT coalesce(string_agg(format('%s (pid %s) since %s', coalesce(nullif(application_name, ''), 'somebody'), pid,
                                             date_trunc('second', xact_start)), ', '), 'none') AS "others!"
           FROM (SELECT application_name, pid, xact_start FROM pg_stat_activity
                 WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
                 ORDER BY xact_start LIMIT 3) oldest"#
    )
    .fetch_one(conn)
    .await?)
}

fn options(settings: &Database, process: &str) -> PgConnectOptions {
    settings.connection.clone().application_name(process)
}

/// Whether each migration of this binary has been applied, unchanged. Newer ones do not matter:
/// they must be compatible with the previous release.
pub async fn is_migrated(pool: &PgPool) -> Result<bool> {
    const UNDEFINED_TABLE: &str = "42P01";
    let mut conn = pool.acquire().await?;
    let applied = match conn.list_applied_migrations(&MIGRATIONS.table_name).await {
        Ok(applied) => applied,
        Err(MigrateError::Execute(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            return Ok(false);
        }
        Err(MigrateError::Execute(error)) => return Err(error.into()),
        Err(error) => return Err(Error::internal(error)),
    };
    Ok(MIGRATIONS.iter().all(|known| {
        applied.iter().any(|done| done.version == known.version && done.checksum == known.checksum)
    }))
}

/// A duration in PostgreSQL's type.
pub fn interval(duration: Duration) -> Result<PgInterval> {
    // PostgreSQL counts microseconds, and accepts nothing finer.
    PgInterval::try_from(Duration::from_micros(duration.as_micros() as u64))
        .map_err(|error| Error::internal(error.to_string()))
}

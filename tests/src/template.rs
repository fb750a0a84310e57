//! A PostgreSQL cluster with every migration applied, made once and copied for each test.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use nexus_sandbox::postgres::{Options, Postgres};
use sqlx::AssertSqlSafe;

use crate::program::{binary, command};

/// Starts a migrated cluster under `dir`.
pub async fn migrated_postgres(dir: &Path) -> Postgres {
    let home = home();
    let migrations = migrations();
    let template = home.join(format!("postgres-{:016x}", fingerprint(&migrations)));
    let lock = File::create(home.join("lock")).expect("a lock file");
    // Test processes may run at once: one makes the template, the others wait here. Copying only
    // needs it to stay.
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .unwrap()
        .expect("a lock");
    if !template.is_dir() {
        remove_templates(&home);
        make(&template, dir, migrations.len()).await;
    }
    let options = Options { template: Some(template), ..Options::throwaway() };
    let postgres = Postgres::start(dir.join("postgres"), options).await.expect("PostgreSQL");
    drop(lock);
    postgres
}

/// `nexus-api migrate`
pub async fn migrate(postgres: &Postgres, dir: &Path) {
    let env = vec![("DATABASE_URL".to_owned(), postgres.url())];
    let mut migrate = tokio::process::Command::from(command(&binary("nexus-api"), dir, &env));
    let output = migrate.arg("migrate").output().await.expect("nexus-api migrate");
    assert!(
        output.status.success(),
        "nexus-api migrate failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Migrates an empty cluster and saves it.
async fn make(template: &Path, dir: &Path, migrations: usize) {
    let mut postgres = Postgres::start(dir.join("empty-postgres"), Options::throwaway())
        .await
        .expect("PostgreSQL");
    migrate(&postgres, dir).await;

    let pool = sqlx::PgPool::connect(&postgres.url()).await.expect("a connection");
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&pool)
        .await
        .expect("migrations");
    // A copy costs what there is to be copied: these three are nearly all of it.
    for database in ["postgres", "template1", "template0"] {
        for statement in [
            format!("ALTER DATABASE {database} IS_TEMPLATE false"),
            format!("DROP DATABASE {database}"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("one database less");
        }
    }
    pool.close().await;
    // The migrations are part of the binary.
    assert_eq!(
        applied, migrations as i64,
        "migrations applied: nexus-api is out of date, build the workspace first"
    );
    postgres.save_as(template).await.expect("a template");
}

/// `target/nexus-tests`
fn home() -> PathBuf {
    let api = binary("nexus-api");
    let target = api.ancestors().nth(2).expect("a target directory");
    let home = target.join("nexus-tests");
    std::fs::create_dir_all(&home).expect("a directory for templates");
    home
}

fn migrations() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let entries =
        std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a directory entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    files
}

fn fingerprint(migrations: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in migrations {
        path.file_name().hash(&mut hasher);
        std::fs::read(path).expect("a migration").hash(&mut hasher);
    }
    hasher.finish()
}

/// Those of other sets of migrations.
fn remove_templates(home: &Path) {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

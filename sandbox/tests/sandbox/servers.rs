//! Private PostgreSQL and Redis servers: fast to start, survive a kill, leave nothing behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nexus_sandbox::postgres::{Durability, Options, Postgres};
use nexus_sandbox::redis::Redis;

/// A directory that only its owner may enter, as temporary directories and homes are.
fn private_dir(name: &str) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt;
    let dir =
        std::env::temp_dir().join(format!("nexus-sandbox-test-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    dir
}

fn sql(postgres: &Postgres, statement: &str) -> String {
    let psql = Command::new(postgres.binaries().join("psql"))
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, &postgres.url()])
        .output()
        .unwrap();
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
    String::from_utf8(psql.stdout).unwrap().trim().to_owned()
}

fn is_running(id: u32) -> bool {
    // A zombie that its parent has not waited for yet does not run.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_throwaway_cluster_starts_fast_survives_a_kill_and_disappears() {
    let parent = private_dir("postgres");
    drop(Postgres::start(parent.join("first"), Options::throwaway()).await.unwrap()); // makes the template

    let started = Instant::now();
    let dir = parent.join("second");
    let mut postgres = Postgres::start(&dir, Options::throwaway()).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let url = postgres.url();
    sql(&postgres, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)");

    postgres.kill().await.unwrap();
    postgres.restart().await.unwrap();
    assert_eq!(postgres.url(), url);
    assert_eq!(sql(&postgres, "SELECT count(*) FROM kept"), "1");

    let server = postgres.id().unwrap();
    postgres.kill().await.unwrap();
    drop(postgres);
    assert!(!is_running(server));
    assert!(!dir.exists());
    std::fs::remove_dir_all(parent).unwrap();
}

#[tokio::test]
async fn a_durable_cluster_keeps_its_data_and_can_become_a_template() {
    let parent = private_dir("durable");
    let dir = parent.join("cluster");
    let postgres = Postgres::start(&dir, Options::durable()).await.unwrap();
    let port = postgres.port();
    sql(&postgres, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)");
    drop(postgres);

    let mut postgres =
        Postgres::start(&dir, Options { port: Some(port), ..Options::durable() }).await.unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(sql(&postgres, "SELECT count(*) FROM kept"), "1");

    let template = parent.join("template");
    postgres.save_as(&template).await.unwrap();
    let copy = Options { template: Some(template), ..Options::throwaway() };
    let copy = Postgres::start(parent.join("copy"), copy).await.unwrap();
    assert_eq!(sql(&copy, "SELECT count(*) FROM kept"), "1");
    drop((postgres, copy));
    std::fs::remove_dir_all(parent).unwrap();
}

#[tokio::test]
async fn redis_forgets_when_killed_unless_it_is_durable() {
    let parent = private_dir("redis");
    let cli = |redis: &Redis, words: &[&str]| {
        let output = Command::new("redis-cli")
            .arg("-p")
            .arg(redis.port().to_string())
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for (durability, expected) in [(Durability::Throwaway, ""), (Durability::Durable, "1")] {
        let dir = parent.join(format!("{durability:?}"));
        let mut redis = Redis::start(&dir, durability, None).await.unwrap();
        cli(&redis, &["SET", "key", "1"]);
        cli(&redis, &["WAITAOF", "1", "0", "1000"]);
        redis.restart().await.unwrap();
        assert_eq!(cli(&redis, &["GET", "key"]), expected);
        redis.kill().await.unwrap();
        drop(redis);
        assert_eq!(dir.exists(), durability == Durability::Durable);
    }
    std::fs::remove_dir_all(parent).unwrap();
}

#[test]
fn nothing_outlives_a_parent_that_is_killed() {
    let dir = private_dir("orphans");
    let said = dir.join("url");
    let mut parent = Command::new(env!("CARGO_BIN_EXE_nexus-sandbox"))
        .args([
            "with-postgres",
            "--",
            "sh",
            "-c",
            "echo $DATABASE_URL > $SAID.new; mv $SAID.new $SAID; sleep 60",
        ])
        .env("SAID", &said)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !said.exists() {
        assert!(Instant::now() < deadline, "PostgreSQL did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = std::fs::read_to_string(said).unwrap();
    let address = url.trim().rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    parent.kill().unwrap();
    parent.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < deadline, "PostgreSQL was left behind at {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir_all(dir).unwrap();
}

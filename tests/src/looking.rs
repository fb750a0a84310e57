//! Looking into a stack's database, Redis and logs, and arranging what is in them.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SOON;
use crate::stack::Stack;
use crate::waiting::{eventually, seen};

impl Stack {
    /// Rows of a query, as JSON objects.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let query = format!("SELECT to_jsonb(found) FROM ({query}) AS found");
        let rows = sqlx::query_scalar(AssertSqlSafe(query.clone())).fetch_all(&self.db).await;
        rows.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The only row of a query.
    pub async fn row(&self, query: &str) -> Value {
        let mut rows = self.rows(query).await;
        assert_eq!(rows.len(), 1, "rows of {query}: {rows:?}");
        rows.remove(0)
    }

    /// How many rows; the argument is what follows FROM.
    pub async fn count(&self, from: &str) -> i64 {
        self.row(&format!("SELECT count(*) AS n FROM {from}")).await["n"].as_i64().expect("a count")
    }

    /// How many statements of processes of that name, or of names that begin so, wait for a lock.
    pub async fn blocked(&self, process: &str) -> i64 {
        let waiting = "pg_stat_activity WHERE wait_event_type = 'Lock'";
        self.count(&format!("{waiting} AND application_name LIKE '{process}%'")).await
    }

    /// Waits until so many statements wait for a lock.
    pub async fn until_blocked(&self, process: &str, count: i64) {
        eventually(&format!("{count} statements of {process} wait for a lock"), SOON, async || {
            let blocked = self.blocked(process).await;
            seen(blocked >= count, blocked).map(drop)
        })
        .await;
    }

    /// Carries out a change; returns how many rows it changed.
    pub async fn execute(&self, statement: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&self.db).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
    }

    /// Every table's content, as a checksum: equal when nothing was stored and nothing changed. Without
    /// the audit log, in which attempts are, too, a moment later.
    pub async fn contents(&self) -> Vec<Value> {
        let tables = "SELECT table_name AS name FROM information_schema.tables
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'audit_log' ORDER BY 1";
        let mut contents = Vec::new();
        for table in self.rows(tables).await {
            let name = table["name"].as_str().unwrap_or_default();
            let sum = format!(
                "SELECT '{name}' AS name, count(*) AS rows, md5(string_agg(t::text, '' ORDER BY t::text)) AS sum FROM {name} t"
            );
            contents.push(self.row(&sum).await);
        }
        contents
    }

    /// What every process has written since the beginning, by its name.
    pub fn logs(&self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.dir()).expect("a directory").flatten();
        let logs = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, String::from_utf8_lossy(&std::fs::read(&path).expect("a log")).into_owned())
        })
        .collect()
    }

    /// Sends Redis a command and returns the first line of its response.
    pub async fn redis_command(&self, words: &str) -> String {
        self.redis_answer(words).await.lines().next().unwrap_or_default().to_owned()
    }

    /// Sends Redis a command whose answer is a list of texts.
    pub async fn redis_list(&self, words: &str) -> Vec<String> {
        let response = self.redis_answer(words).await;
        // *2, then $5 and hello for each.
        response.lines().skip(1).filter(|line| !line.starts_with('$')).map(str::to_owned).collect()
    }

    /// The names of everything in Redis.
    pub async fn redis_keys(&self) -> Vec<String> {
        self.redis_list("KEYS *").await
    }

    /// Keys that stay in Redis for ever and should not, and how many workers are registered there.
    pub async fn lasting_in_redis(&self) -> (Vec<String>, usize) {
        let (mut registered, mut lasting) = (0, Vec::new());
        for key in self.redis_keys().await {
            let is_registry = key.starts_with("nexus:") && key.ends_with(":workers");
            if is_registry {
                registered += self.redis_list(&format!("ZRANGE {key} 0 -1")).await.len();
            }
            let may_last =
                is_registry || key.ends_with(":signal") || key == "core:apalis:queues:list";
            if !may_last && self.redis_command(&format!("PTTL {key}")).await == ":-1" {
                lasting.push(key);
            }
        }
        (lasting, registered)
    }

    async fn redis_answer(&self, words: &str) -> String {
        ask_redis(self.redis.port(), words).await
    }
}

/// What the Redis at that port answers to a command, in its protocol.
pub async fn ask_redis(port: u16, words: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("Redis");
    // Redis closes the connection after QUIT, so that the end of a long answer is known.
    stream.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).await.expect("Redis");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("Redis");
    let response = String::from_utf8_lossy(&response).into_owned();
    response.strip_suffix("+OK\r\n").map_or(response.clone(), str::to_owned)
}

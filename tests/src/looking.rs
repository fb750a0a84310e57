//! Looking into a stack's database and Redis, and arranging what is in them.

use serde_json::Value;
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stack::Stack;

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

    /// Changes something; returns how many rows.
    pub async fn execute(&self, statement: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&self.db).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
    }

    /// Every table's content, as a checksum: equal when nothing was stored and nothing changed.
    pub async fn contents(&self) -> Vec<Value> {
        let tables = "SELECT table_name AS name FROM information_schema.tables
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
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

    /// Sends Redis a command and returns the first line of its answer.
    pub async fn redis_command(&self, words: &str) -> String {
        let mut stream =
            tokio::net::TcpStream::connect(("127.0.0.1", self.redis.port())).await.expect("Redis");
        stream.write_all(format!("{words}\r\n").as_bytes()).await.expect("Redis");
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.expect("Redis");
        String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
    }
}

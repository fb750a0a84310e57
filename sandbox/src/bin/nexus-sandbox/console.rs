//! What the launcher prints: its own lines and those of the processes, each under its name.

use std::io::{IsTerminal, Write, stdout};
use std::sync::LazyLock;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];
/// Longest process name of the Procfile, more or less.
const WIDTH: usize = 13;

static COLOURED: LazyLock<bool> = LazyLock::new(|| {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
});

/// The name and the colour of lines.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    name: String,
    colour: u8,
}

impl Speaker {
    /// The `index`-th process.
    pub(crate) fn new(name: &str, index: usize) -> Self {
        Self { name: name.to_owned(), colour: COLOURS[index % COLOURS.len()] }
    }

    /// The launcher itself.
    pub(crate) fn launcher() -> Self {
        Self { name: "sandbox".to_owned(), colour: 90 }
    }

    /// Prints one line.
    pub(crate) fn say(&self, line: &str) {
        let (name, colour) = (&self.name, self.colour);
        let prefix = format!("{name:<WIDTH$}|");
        // The reader of our output may have gone away; that is no reason to stop.
        let _ = match *COLOURED {
            true => writeln!(stdout(), "\x1b[{colour}m{prefix}\x1b[0m {line}"),
            false => writeln!(stdout(), "{prefix} {line}"),
        };
    }

    /// Prints everything that comes out of a pipe, line by line.
    pub(crate) async fn repeat(self, pipe: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            self.say(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
}

/// Says something in the launcher's own name.
pub(crate) fn say(line: &str) {
    Speaker::launcher().say(line);
}

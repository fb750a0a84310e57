//! Child processes that never outlive their parent, not even one that is killed with SIGKILL.
//!
//! The kernel can signal a child when its parent dies (`PR_SET_PDEATHSIG`, set here by `setpriv`),
//! but "parent" means the *thread* that spawned it. Test threads and runtime threads come and go,
//! so one thread that lives as long as the process spawns every child.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Pid;
pub use rustix::process::Signal;

/// How often a waiting parent looks whether its child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The unprivileged account a server runs under when the sandbox itself is root.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// A command for `program` that receives `at_parents_death` when this process ends, however it
/// ends.
pub fn command(
    program: impl AsRef<Path>,
    account: Option<Account>,
    at_parents_death: &str,
) -> Command {
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    if let Some(Account { uid, gid }) = account {
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        words.extend(["setpriv".into(), uid.into(), gid.into(), "--clear-groups".into()]);
    }
    if cfg!(target_os = "linux") {
        // A second setpriv on purpose: changing the user clears the parent-death signal.
        words.extend(["setpriv", "--pdeathsig", at_parents_death].map(Into::into));
    }
    words.push(program.as_ref().into());

    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a command made by [`command`] in a process group of its own: a terminal's Ctrl-C
    /// reaches the parent only, which then ends its children in order.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.process_group(0);
        Self::spawn_in_foreground(command)
    }

    /// Starts a command that shares the terminal, its input and its Ctrl-C with the parent.
    pub fn spawn_in_foreground(command: Command) -> io::Result<Self> {
        type Order = (Command, mpsc::Sender<io::Result<Child>>);
        static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
            let (orders, inbox) = mpsc::channel::<Order>();
            std::thread::spawn(move || {
                for (mut command, reply) in inbox {
                    let _ = reply.send(command.spawn());
                }
            });
            orders
        });
        let (reply, answer) = mpsc::channel();
        SPAWNER.send((command, reply)).map_err(io::Error::other)?;
        answer.recv().map_err(io::Error::other)?.map(Self)
    }

    /// The child itself, for instance to take its output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal; a child that has already ended is no error.
    pub fn signal(&mut self, signal: Signal) {
        // Until the child has been waited for, its id cannot belong to another process.
        if let (Ok(None), Some(pid)) = (self.0.try_wait(), pid(self.0.id())) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Sends a signal to it and to its own children.
    pub fn signal_with_children(&mut self, signal: Signal) {
        let children = self.children();
        self.signal(signal);
        for child in children {
            let _ = rustix::process::kill_process(child, signal);
        }
    }

    fn children(&self) -> Vec<Pid> {
        let id = self.0.id();
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|id| pid(id.parse().ok()?)).collect()
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks it to end, and kills it when it has not done so in time.
    pub async fn end(&mut self, signal: Signal, patience: Duration) -> io::Result<ExitStatus> {
        self.signal(signal);
        if let Ok(status) = tokio::time::timeout(patience, self.ended()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// [`Process::end`] for destructors, which cannot await.
    pub fn end_blocking(&mut self, signal: Signal, patience: Duration) {
        self.signal(signal);
        let deadline = Instant::now() + patience;
        while self.status().is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }

    /// Kills it together with its own children, as a machine that loses power would.
    pub async fn kill_with_children(&mut self) -> io::Result<()> {
        self.signal_with_children(Signal::KILL);
        self.ended().await.map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

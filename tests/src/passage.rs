//! A proxy to a server that can fall silent: what a process sees when the server's machine is cut
//! off or switched off, and another takes its place. (A killed server does not vanish so: its
//! machine closes its connections.)

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port that leads to a server's. Dropping it closes it with everything that goes through it.
#[derive(Debug)]
pub struct Passage {
    port: u16,
    /// How often the server has vanished. Connections from before are not served any more, and stay
    /// open.
    vanished: Arc<watch::Sender<u32>>,
    task: JoinHandle<()>,
}

impl Passage {
    /// Leads to that port of this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let vanished = Arc::new(watch::Sender::new(0));
        let epochs = vanished.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(lead(client, server, epochs.subscribe()));
            }
        });
        Self { port, vanished, task }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing comes back on the connections that are open now, ever; new ones are served.
    pub fn vanish(&self) {
        self.vanished.send_modify(|epoch| *epoch += 1);
    }
}

async fn lead(mut client: TcpStream, server: u16, mut vanished: watch::Receiver<u32>) {
    vanished.mark_unchanged();
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut stream) => {}
        _ = vanished.changed() => {
            // The server, which really is still there, sees the connection end; the client sees
            // nothing at all.
            drop(stream);
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

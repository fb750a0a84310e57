//! Socket.IO as a client of the shop needs it: one websocket, no rooms, no binary.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// A connected client.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connects, with a token or as a stranger.
    pub async fn open(port: u16, token: Option<&str>) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        let mut socket = Socket(client_async(url, stream).await?.0);
        let auth = token.map_or_else(String::new, |token| format!("{{\"token\":\"{token}\"}}"));
        socket.send(format!("40{auth}")).await?;
        while !socket.packet().await?.starts_with("40") {}
        Ok(socket)
    }

    /// Sends a command and waits for its response.
    pub async fn command(&mut self, name: &str, payload: &Value) -> Result<Value> {
        self.send(format!("42[\"{name}\",{payload}]")).await?;
        let expected = format!("42[\"{name}_response\",");
        loop {
            let packet = self.packet().await?;
            if let Some(rest) = packet.strip_prefix(&expected) {
                let response = rest.strip_suffix(']').context("no end")?;
                return Ok(serde_json::from_str(response)?);
            }
        }
    }

    /// Listens until the server goes. What is heard is not even looked at, nor are pings answered: a
    /// thousand listeners are to cost the driver little, for less than the 25 s between two pings.
    pub async fn listen(self) {
        let (mut stream, mut buffer) = (self.0.into_inner(), vec![0; 16 * 1024]);
        while let Ok(1..) = stream.read(&mut buffer).await {}
    }

    async fn send(&mut self, packet: String) -> Result<()> {
        Ok(self.0.send(Message::text(packet)).await?)
    }

    /// The next packet; pings are answered.
    async fn packet(&mut self) -> Result<String> {
        loop {
            match self.0.next().await.context("the server has closed a socket")?? {
                Message::Text(text) if text.as_str() == "2" => self.send("3".into()).await?,
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(_) => bail!("the server has closed a socket"),
                _ => {}
            }
        }
    }
}

//! What the kernel alone needs for a broadcast: a server that greets clients as a Socket.IO server
//! does, and then writes the same bytes to each of their sockets, one plain write after the other.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::hub::{Said, Voice, now};

/// The argument that makes the driver's binary such a server.
pub const PLAIN_SOCKETS: &str = "plain-sockets";

#[derive(Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
enum Order {
    /// The address to connect to.
    Address,
    /// Writes a packet to every client: when that began, in microseconds since 1970.
    Broadcast { packet: String },
}

type Clients = Arc<Mutex<Vec<TcpStream>>>;

/// Carries out orders until the line to the driver ends.
pub fn serve(hub: &str) -> Result<()> {
    let mut voice = Voice::call(hub)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let clients = Clients::default();
    let greeted = clients.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            if let Ok(stream) = greet(stream) {
                greeted.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        }
    });
    for order in BufReader::new(voice.line()?).lines() {
        let response: Value = match serde_json::from_str(&order?)? {
            Order::Address => json!(address),
            Order::Broadcast { packet } => {
                let frame = frame(&packet)?;
                let begun = now();
                for stream in &mut *clients.lock().unwrap_or_else(PoisonError::into_inner) {
                    stream.write_all(&frame)?;
                }
                json!(begun)
            }
        };
        voice.say(&Said::Response { response })?;
    }
    Ok(())
}

fn greet(mut stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    until(&mut stream, b"\r\n\r\n")?;
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    stream.write_all(&frame("0{\"sid\":\"plain\"}")?)?;
    // The client's frame that connects it: 40.
    stream.read_exact(&mut [0; 8])?;
    stream.write_all(&frame("40{\"sid\":\"plain\"}")?)?;
    Ok(stream)
}

fn until(stream: &mut TcpStream, end: &[u8]) -> Result<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !read.ends_with(end) {
        match stream.read(&mut buffer)? {
            0 => bail!("a client has left"),
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}

fn frame(packet: &str) -> Result<Vec<u8>> {
    let length = u16::try_from(packet.len()).context("a packet is too long")?;
    let mut frame = vec![0x81];
    match length {
        ..126 => frame.push(length as u8),
        _ => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(packet.as_bytes());
    Ok(frame)
}

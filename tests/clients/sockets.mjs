// Clients of socket.io-client, as many as are asked for: each is known by a number, `socket`, which is in every line about it. The first line
// about one on standard input is `{socket, options: {url, client, ...options}}`, where `client` is the package, which names the version; every
// further one is `{socket, event, args, ack}`, where `ack` is a number that asks for an acknowledgement and `{"$bytes": "<base64>"}` among
// `args` is binary; `{socket, drop: true}` loses the connection; the last is `{socket, close: true}`. Whatever happens is a JSON line on standard output.
// socket_client.py is one such client of python-socketio.
import { createInterface } from "node:readline";

const bytes = (_, value) => (value?.$bytes === undefined ? value : Buffer.from(value.$bytes, "base64"));
const sockets = new Map();

async function open(number, { url, client = "socket.io-client", ...options }) {
  const tell = (what) => process.stdout.write(JSON.stringify({ socket: number, ...what }) + "\n");
  const { io } = await import(client);
  const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
  const transport = () => socket.io.engine.transport.name;
  sockets.set(number, { socket, tell });

  socket.io.on("open", () => socket.io.engine.on("upgrade", () => tell({ type: "upgrade", transport: transport() })));
  socket.on("connect", () => tell({ type: "connect", id: socket.id, transport: transport(), recovered: socket.recovered }));
  socket.on("connect_error", (error) => tell({ type: "connect_error", message: error.message }));
  socket.on("disconnect", (reason) => tell({ type: "disconnect", reason }));
  socket.onAny((event, ...args) => tell({ type: "event", event, args }));
}

for await (const line of createInterface({ input: process.stdin })) {
  const { socket: number, options, event, args, ack, drop, close } = JSON.parse(line, bytes);
  if (options) {
    await open(number, options);
    continue;
  }
  const { socket, tell } = sockets.get(number);
  if (close) {
    sockets.delete(number);
    socket.disconnect();
  } else if (drop) socket.io.engine.close();
  else if (ack === null) socket.emit(event, ...args);
  else socket.emit(event, ...args, (...answer) => tell({ type: "ack", ack, answer }));
}

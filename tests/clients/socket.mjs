// One client of socket.io-client; socket_client.py is its twin for python-socketio. The first line on standard input is
// `{url, client, ...options}`, where `client` is the package, which names the version; every further one is `{event, args, ack}`, where `ack`
// is a number that asks for an acknowledgement and `{"$bytes": "<base64>"}` among `args` is binary. Whatever happens is a JSON line on
// standard output.
import { createInterface } from "node:readline";

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const bytes = (_, value) => (value?.$bytes === undefined ? value : Buffer.from(value.$bytes, "base64"));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const { url, client = "socket.io-client", ...options } = JSON.parse((await lines.next()).value);
const { io } = await import(client);
const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
const transport = () => socket.io.engine.transport.name;

socket.io.on("open", () => socket.io.engine.on("upgrade", () => tell({ type: "upgrade", transport: transport() })));
socket.on("connect", () => tell({ type: "connect", id: socket.id, transport: transport() }));
socket.on("connect_error", (error) => tell({ type: "connect_error", message: error.message }));
socket.on("disconnect", (reason) => tell({ type: "disconnect", reason }));
socket.onAny((event, ...args) => tell({ type: "event", event, args }));

for await (const line of lines) {
  const { event, args, ack } = JSON.parse(line, bytes);
  if (ack === null) socket.emit(event, ...args);
  else socket.emit(event, ...args, (...answer) => tell({ type: "ack", ack, answer }));
}
socket.disconnect();

// One client of the official library. The first line on standard input is `{url, ...options}`; every further one is
// `{event, args, ack}`, where `ack` is a number that asks for an acknowledgement. Whatever happens is a JSON line on standard output.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const { url, ...options } = JSON.parse((await lines.next()).value);
const socket = io(url, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });

socket.on("connect", () => tell({ type: "connect", id: socket.id, transport: socket.io.engine.transport.name }));
socket.on("connect_error", (error) => tell({ type: "connect_error", message: error.message }));
socket.on("disconnect", (reason) => tell({ type: "disconnect", reason }));
socket.onAny((event, ...args) => tell({ type: "event", event, args }));

for await (const line of lines) {
  const { event, args, ack } = JSON.parse(line);
  if (ack === null) socket.emit(event, ...args);
  else socket.emit(event, ...args, (...answer) => tell({ type: "ack", ack, answer }));
}
socket.disconnect();

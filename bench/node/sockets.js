// Socket.IO in Node, with the events of Nexus and nothing behind them: a lock is stored nowhere, so
// that only the sockets are measured. With REDIS_ADAPTER, several processes tell each other.

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const { PORT, REDIS_URL, REDIS_ADAPTER } = process.env;

let version = 0;

/** What Nexus tells of a lock. */
const seatLocked = (event, type, label) => {
    version += 1;
    const at = new Date();
    const lock = {
        id: version, event_id: event, event_seat_type_id: type, seat_label: label, user_id: 1, status: "locked",
        locked_at: at.toISOString(), expires_at: new Date(at.getTime() + 600_000).toISOString(),
    };
    return { event_id: event, seat_type_id: type, seat_label: label, user_id: 1, available_quantity: 1_000_000 - version, version, lock };
};

/** Events whose counts clients are about to hear. */
const changed = new Set();

const seatsChanged = (event, type) => {
    if (changed.has(event)) return;
    changed.add(event);
    setTimeout(() => {
        changed.delete(event);
        const seat_types = [{ seat_type_id: type, quantity: 1_000_000, available_quantity: 1_000_000 - version }];
        io.emit("event:seats-update", { event_id: event, version, seat_types });
    }, 100);
};

const LOCK = /^\/api\/v1\/seats\/(\d+)\/seat-types\/(\d+)\/lock$/;

const body = async (request) => {
    let text = "";
    for await (const part of request) text += part;
    return JSON.parse(text);
};

const respond = (response, data) => {
    const text = JSON.stringify(data);
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
};

const server = createServer(async (request, response) => {
    const lock = LOCK.exec(request.url);
    if (!lock) return respond(response, { status: "ready" });
    const [event, type] = lock.slice(1).map(Number);
    const { seat_label } = await body(request);
    const locked = seatLocked(event, type, seat_label);
    io.emit("seat_locked", locked);
    seatsChanged(event, type);
    respond(response, { data: { lock: locked.lock } });
});

const io = new Server(server, { perMessageDeflate: false });
if (REDIS_ADAPTER) {
    const redis = new Redis(REDIS_URL);
    io.adapter(createAdapter(redis, redis.duplicate()));
}

io.on("connection", (socket) => {
    socket.on("join_event", (event) => {
        socket.join(`event:${event}`);
        socket.emit("join_event_response", { success: true, data: { event_id: event } });
    });
});

server.keepAliveTimeout = 60_000;
server.listen(Number(PORT), "127.0.0.1", 4096);
process.on("SIGTERM", () => process.exit(0));

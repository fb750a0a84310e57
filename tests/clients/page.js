// What the pages of a frontend do; the tests call these functions, in pages that browser.mjs serves.

/** Calls the API: what the page can read of the answer, or why it can read nothing. */
async function request(url, options) {
  try {
    const response = await fetch(url, { ...options, credentials: "include" });
    return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
  } catch (error) {
    return { blocked: String(error) };
  }
}

let socket;
let heard;

/** Connects, and upgrades where two transports are given: the transport that it ends up with, or why it could not connect. */
function connect(url, options) {
  socket?.disconnect();
  socket = io(url, { ...options, withCredentials: true, forceNew: true, reconnection: false });
  heard = [];
  socket.onAny((event, payload) => heard.push({ event, payload }));
  return new Promise((resolve) => {
    const engine = socket.io.engine;
    const last = options.transports.at(-1);
    const settle = () => engine.transport.name === last && socket.connected && resolve({ transport: last });
    socket.on("connect", settle);
    engine.on("upgrade", settle);
    socket.on("connect_error", (error) => resolve({ error: error.message }));
  });
}

/** Sends a command: what its acknowledgement callback got. */
function command(name, payload) {
  return new Promise((resolve) => socket.emit(name, payload, resolve));
}

/** All events that the socket has received. */
function events() {
  return heard;
}

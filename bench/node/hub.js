// The line to the driver: JSON, one value a line, over the TCP connection that BENCH_HUB names.

import { connect } from "node:net";
import { createInterface } from "node:readline";

const [host, port] = process.env.BENCH_HUB.split(":");
const socket = connect({ host, port: Number(port), noDelay: true });
// The driver has ended.
socket.on("close", () => process.exit(0)).on("error", () => process.exit(1));

export const say = (line) => socket.write(JSON.stringify(line) + "\n");

/** Answers the driver's orders, one at a time. */
export const obey = async (orders) => {
    for await (const line of createInterface({ input: socket })) {
        const { order, ...details } = JSON.parse(line);
        say({ response: (await orders[order](details)) ?? null });
    }
};

/** Microseconds since 1970. */
export const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);

let ran = 0;
let said = 0;
setInterval(() => {
    if (ran !== said) say({ ran: (said = ran) });
}, 10);

/** What the jobs do: the same as in `src/bin/worker.rs`. */
export const handlers = {
    noop: async () => {
        ran += 1;
    },
    wait: async ({ ms }) => {
        ran += 1;
        await new Promise((resolve) => setTimeout(resolve, ms));
    },
    probe: async ({ seq }) => {
        say({ probe: seq, at: now() });
        ran += 1;
    },
};

// Enqueues into BullMQ as the driver orders.

import { Queue } from "bullmq";

import { connection, QUEUE } from "./bullmq.js";
import { now, obey } from "./hub.js";

const queue = new Queue(QUEUE, { connection });
await queue.waitUntilReady();

/** Calls `add` again and again in `parallel` loops for `ms`; says how often and how long it took. */
const repeat = async (ms, parallel, add) => {
    const start = performance.now();
    let calls = 0;
    const loop = async () => {
        while (performance.now() - start < ms) {
            await add();
            calls += 1;
        }
    };
    await Promise.all(Array.from({ length: parallel }, loop));
    return { calls, seconds: (performance.now() - start) / 1000 };
};

const copies = (count, name, data) => Array.from({ length: count }, () => ({ name, data }));

await obey({
    enqueue: ({ ms, parallel, batch }) =>
        repeat(ms, parallel, () => (batch === 1 ? queue.add("noop", {}) : queue.addBulk(copies(batch, "noop", {})))),
    hold: async ({ jobs, name, data }) => {
        await queue.pause();
        for (let left = jobs; left > 0; left -= 1000) await queue.addBulk(copies(Math.min(left, 1000), name, data));
    },
    release: () => queue.resume(),
    left: async () => {
        const counts = await queue.getJobCounts("wait", "active", "paused", "prioritized", "delayed");
        return Object.values(counts).reduce((sum, count) => sum + count, 0);
    },
    probe: async ({ seq }) => {
        const sent = now();
        await queue.add("probe", { seq });
        return sent;
    },
});

// What the API and the workers of the shop share: their connections and their queues.

import { Queue } from "bullmq";
import { Redis } from "ioredis";
import pg from "pg";

// Rupees and counts as numbers, as the wire has them.
pg.types.setTypeParser(pg.types.builtins.NUMERIC, Number);
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

export const db = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });

/** One connection for all commands; `enableAutoPipelining` sends those of one tick together. */
export const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true, maxRetriesPerRequest: null });

/** The queues of the jobs. Those that are over are removed, as a busy installation would have it. */
export const queue = (name) =>
    new Queue(name, {
        connection: redis,
        prefix: "shop",
        defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 5, backoff: { type: "exponential", delay: 1000 } },
    });

/** Does `work` in one transaction. */
export const transaction = async (work) => {
    const client = await db.connect();
    try {
        await client.query("BEGIN");
        const result = await work(client);
        await client.query("COMMIT");
        return result;
    } catch (error) {
        await client.query("ROLLBACK");
        throw error;
    } finally {
        client.release();
    }
};

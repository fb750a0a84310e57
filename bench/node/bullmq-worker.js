// A BullMQ worker process. WORKER_SETTINGS has what differs from the defaults.

import { Worker } from "bullmq";

import { handlers } from "./hub.js";
import { connection, QUEUE } from "./bullmq.js";

new Worker(QUEUE, (job) => handlers[job.name](job.data), { connection, ...JSON.parse(process.env.WORKER_SETTINGS ?? "{}") });

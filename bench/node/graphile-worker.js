// A graphile-worker process. WORKER_SETTINGS has what differs from the defaults, `{"migrate": true}` only makes the schema.

import { run, runMigrations } from "graphile-worker";

const { migrate, ...worker } = JSON.parse(process.env.WORKER_SETTINGS ?? "{}");
worker.connectionString = process.env.DATABASE_URL;

if (migrate) {
    await runMigrations({ preset: { worker } });
} else {
    const { handlers } = await import("./hub.js");
    await run({ preset: { worker }, taskList: handlers });
}

// What the processes on both sides of the queue share.

const { hostname, port } = new URL(process.env.REDIS_URL);

export const QUEUE = "bench";
export const connection = { host: hostname, port: Number(port) };

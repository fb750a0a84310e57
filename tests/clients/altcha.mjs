// ALTCHA's own library, asked by a test: each line on standard input is `{id, puzzle}`, answered by `{type: "result", id, result}`, where
// `result` is what ALTCHA's widget would send.
import { createInterface } from "node:readline";
import { solveChallenge } from "altcha-lib/v1";

for await (const line of createInterface({ input: process.stdin })) {
  const { id, puzzle } = JSON.parse(line);
  const { algorithm, challenge, maxnumber, salt, signature } = puzzle;
  const { number, took } = await solveChallenge(challenge, salt, algorithm, maxnumber).promise;
  const result = btoa(JSON.stringify({ algorithm, challenge, number, salt, signature, took }));
  process.stdout.write(JSON.stringify({ type: "result", id, result, took }) + "\n");
}

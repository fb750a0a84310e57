#!/usr/bin/env node
// Checks the draw of a waiting room with nothing but what is published of it
// (docs/waiting-room.md#the-draw):
//
//     node verify-draw.mjs https://tickets.example/api/v1/events/7/queue/draw
//     node verify-draw.mjs draw.json --mine <id of a visitor>
//
// The document is that of GET /events/:id/queue/draw; a file may have all visitors in one. Exits with
// 0 if the draw is good, with 1 if it is not, and with 2 if there is none to be checked.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  parts.forEach((part) => hash.update(part));
  return hash.digest();
};

const bytesOf = (id) => Buffer.from(id.replaceAll('-', ''), 'hex');

async function page(source, after) {
  if (!/^https?:/.test(source)) {
    return JSON.parse(await readFile(source === '-' ? '/dev/stdin' : source, 'utf8'));
  }
  const url = new URL(source);
  if (after > 0) url.searchParams.set('after', after);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response.json();
}

async function published(source) {
  let draw = null;
  let after = 0;
  do {
    const answer = await page(source, after);
    const part = answer.data ?? answer;
    if (draw === null) draw = { ...part, visitors: [] };
    draw.visitors.push(...part.visitors);
    after = part.next ?? 0;
  } while (after > 0);
  return draw;
}

/** What is wrong with a draw; nothing if it is good. */
function faults({ commitment, seed, list_digest, visitors }) {
  const found = [];
  const secret = Buffer.from(seed, 'hex');
  if (sha256(secret).toString('hex') !== commitment) {
    found.push('the seed is not the one that was committed to');
  }
  const ids = visitors.map(bytesOf);
  if (ids.some((id) => id.length !== 16)) found.push('a visitor has no id');
  const sorted = ids.toSorted(Buffer.compare);
  if (sorted.some((id, at) => at > 0 && id.equals(sorted[at - 1]))) {
    found.push('somebody was drawn twice');
  }
  const digest = sha256(...sorted);
  if (digest.toString('hex') !== list_digest) found.push('these are not the visitors of the list');
  const lots = ids.map((id) => ({ id, lot: sha256(secret, digest, id) }));
  const byLot = (a, b) => Buffer.compare(a.lot, b.lot) || Buffer.compare(a.id, b.id);
  const wrong = lots.toSorted(byLot).findIndex(({ id }, at) => !id.equals(ids[at]));
  if (wrong >= 0) found.push(`position ${wrong + 1} is somebody else's`);
  return found;
}

const [source, option, mine] = process.argv.slice(2);
if (!source || (option && (option !== '--mine' || !mine))) {
  console.error('usage: verify-draw.mjs <URL, file or -> [--mine <id of a visitor>]');
  process.exit(2);
}
const draw = await published(source).catch((error) => {
  console.error(error.message);
  process.exit(2);
});
const found = faults(draw);
found.forEach((fault) => console.error(`wrong: ${fault}`));
if (found.length > 0) process.exit(1);
console.log(`the draw is good: ${draw.visitors.length} visitors`);
if (mine) {
  const position = draw.visitors.indexOf(mine.toLowerCase()) + 1;
  console.log(position > 0 ? `your position is ${position}` : 'you were not drawn');
}

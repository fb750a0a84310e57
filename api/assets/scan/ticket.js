// Checks the text of a ticket's code without a server: docs/tickets.md has the format. The crate
// `nexus-ticket-code` does the same for programs.
import { verifyAsync } from "./vendor/ed25519.js";

const FORM = "NX1-";
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// The 84 bytes of a text; null for anything else.
function bytesOf(text) {
  const encoded = text.startsWith(FORM) ? text.slice(FORM.length) : "";
  if (encoded.length !== 135) return null;
  const bytes = new Uint8Array(84);
  let bits = 0, count = 0, at = 0;
  for (const letter of encoded) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) return null;
    bits = (bits << 5) | value;
    count += 5;
    if (count >= 8) {
      count -= 8;
      bytes[at++] = (bits >> count) & 255;
      bits &= (1 << count) - 1;
    }
  }
  // What is left over says nothing.
  return bits === 0 ? bytes : null;
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// What a text claims, `{event, ticket, nonce}`, if one of `keys` has signed it, as they are published;
// otherwise `{refused}`: unreadable, unknown_key or forged. A nonce is text.
export async function verifyTicket(text, keys) {
  const bytes = bytesOf(text.trim());
  if (bytes === null) return { refused: "unreadable" };
  const id = hex(bytes.subarray(0, 4));
  const key = keys.find((known) => known.id === id);
  if (key === undefined) return { refused: "unknown_key", id };
  const signed = new Uint8Array([...new TextEncoder().encode(FORM), ...bytes.subarray(0, 20)]);
  if (!(await isSigned(bytes.subarray(20), signed, fromBase64(key.public_key)))) return { refused: "forged" };
  const view = new DataView(bytes.buffer);
  return { event: view.getInt32(4), ticket: view.getInt32(8), nonce: view.getBigInt64(12).toString() };
}

// Whether the owner of a key has signed these bytes.
export async function isSigned(signature, bytes, publicKey) {
  try {
    return await verifyAsync(signature, bytes, publicKey, { zip215: false });
  } catch {
    return false;
  }
}

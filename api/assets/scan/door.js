// The door: asks the server as long as there is one, and decides by itself when there is none.
import { fromBase64, isSigned, verifyTicket } from "./ticket.js";
import * as store from "./store.js";

// An answer that takes longer is as good as none: people are waiting.
const PATIENCE = 4_000;
// How far the clocks of two servers may be apart.
const CLOCKS = 600_000;
// Scans in one upload.
const PORTION = 200;

const MESSAGES = {
  unreadable: ["unknown", "This is not the code of a ticket"],
  unknown_key: ["forged", "This ticket is not one of ours"],
  forged: ["forged", "This ticket is forged"],
};

// What a scan comes to, offline.
const offline = (result, message) => ({ result, message, offline: true });

export class Door {
  // The door of `event`, for whoever has `key`.
  static async open(event, key) {
    const door = new Door(event, key);
    const known = await store.read("known");
    if (known?.event?.id === event) door.known = known;
    await door.noteWaiting();
    return door;
  }

  constructor(event, key) {
    Object.assign(this, { event, key, known: null, gate: null, isOnline: navigator.onLine });
  }

  async ask(method, path, body, patience = PATIENCE) {
    const response = await fetch(`/api/v1/events/${this.event}/${path}`, {
      method,
      headers: { Authorization: `Bearer ${this.key}`, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
      cache: "no-store",
    });
    const answer = await response.json();
    if (response.ok) return answer.data;
    throw Object.assign(new Error(answer.error.message), { status: response.status, code: answer.error.code });
  }

  // The same, if there is a server that can answer: otherwise undefined.
  async tryAsk(...request) {
    try {
      const data = await this.ask(...request);
      this.isOnline = true;
      return data;
    } catch (error) {
      // A refusal is an answer. A server that is away, busy or broken has none.
      if (error.status < 500 && error.status !== 429) throw error;
      this.isOnline = false;
      return undefined;
    }
  }

  // Lets the holder of a code in, or says why not.
  scan(text) {
    return this.checkIn({ text });
  }

  // The same for a ticket that was found by hand, which takes a server.
  byHand(ticketId) {
    return this.checkIn({ ticket_id: ticketId });
  }

  async checkIn(shown) {
    const scan = { scan_id: crypto.randomUUID(), ...shown, ...(this.gate && { gate_id: this.gate }) };
    const checked = await this.tryAsk("POST", "check-ins", scan);
    if (checked !== undefined) {
      // For when the network goes away in the next moment.
      if (checked.result === "ok" && shown.text) await this.note(shown.text);
      return { ...checked, scan_id: scan.scan_id };
    }
    if (shown.text === undefined) return offline("unknown", "There is no network: only codes can be checked");
    return { ...(await this.decide(scan)), scan_id: scan.scan_id };
  }

  // Decides without a server. Somebody who is let in is kept for the upload before they are told.
  async decide(scan) {
    const { known } = this;
    if (!known) return offline("unknown", "There is no network, and this device has never had one here");
    const claim = await verifyTicket(scan.text, known.keys);
    if (claim.refused === "unknown_key" && known.revokedKeys.includes(claim.id)) {
      return offline("forged", "The key of this ticket has been revoked");
    }
    if (claim.refused) return offline(...MESSAGES[claim.refused]);
    if (claim.event !== this.event) return offline("wrong_event", "This ticket is for another event");
    if (known.void.has(`${claim.ticket} ${claim.nonce}`)) {
      return offline("void", "This ticket has been cancelled or replaced");
    }
    if (known.inside.has(claim.ticket)) {
      return offline("already_used", "Somebody has come in with this ticket already");
    }
    const gate = known.gates.find((one) => one.id === (known.gate ?? this.gate));
    const type = known.typeOf.get(claim.ticket);
    if (gate?.seat_type_ids && type !== undefined && !gate.seat_type_ids.includes(type)) {
      const right = known.gates.filter((one) => !one.seat_type_ids || one.seat_type_ids.includes(type));
      return offline("wrong_gate", `This ticket is for another entrance: ${right.map((one) => one.name).join(", ")}`);
    }
    // At once: the same code may be read again while this one is written.
    known.inside.add(claim.ticket);
    await store.keep({ ...scan, at: new Date().toISOString() });
    // What is known may have been learnt anew meanwhile.
    this.known.inside.add(claim.ticket);
    return offline("ok", "Welcome");
  }

  // Remembers that somebody is in.
  async note(text) {
    const ticket = await this.ticketOf(text);
    if (ticket) this.known.inside.add(ticket);
  }

  // The ticket of a good code.
  async ticketOf(text) {
    return this.known && (await verifyTicket(text, this.known.keys)).ticket;
  }

  async undo(scanId) {
    const waiting = (await store.scans()).find((scan) => scan.scan_id === scanId);
    const undone = await this.tryAsk("DELETE", `check-ins/${scanId}`).catch((error) => {
      // The server has never heard of it.
      if (waiting && error.code === "check_in_not_found") return null;
      throw error;
    });
    if (undone === undefined && !waiting) throw new Error("There is no network: undo it later");
    if (waiting) await store.forget([scanId]);
    const ticket = waiting && (await this.ticketOf(waiting.text));
    if (ticket) this.known.inside.delete(ticket);
    if (undone !== undefined) await this.refresh();
  }

  search(q) {
    return this.ask("GET", `tickets?q=${encodeURIComponent(q)}`);
  }

  // Brings the server what it does not know, and learns what has changed. Returns what it says of
  // the scans that it should not have had.
  async sync() {
    const problems = [];
    for (;;) {
      const waiting = (await store.scans()).sort((a, b) => a.at.localeCompare(b.at)).slice(0, PORTION);
      if (waiting.length === 0) break;
      const uploaded = await this.tryAsk("POST", "check-ins/upload", { scans: waiting }, 60_000);
      if (uploaded === undefined) return problems;
      await store.forget(uploaded.map((scan) => scan.scan_id));
      for (const { checked, error } of uploaded) {
        if (error) problems.push(error);
        else if (checked.result !== "ok") problems.push(`${checked.ticket?.ticket_id ?? "A code"}: ${checked.message}`);
      }
    }
    await this.refresh();
    return problems;
  }

  // Learns what has changed at the door; once at a time, as one change follows another.
  refresh() {
    this.refreshing ??= this.learn().finally(() => (this.refreshing = null));
    return this.refreshing;
  }

  async learn() {
    const since = this.known ? `?since=${this.known.version}` : "";
    const signed = await this.tryAsk("GET", `door${since}`, undefined, 60_000);
    if (signed === undefined) return;
    const bytes = new TextEncoder().encode(signed.bundle);
    const trusted = this.known?.bundleKeys;
    // The first one comes from the server that the door key is for.
    const signature = signed.signatures.find((one) => !trusted || trusted.includes(one.public_key));
    const key = signature && fromBase64(signature.public_key);
    if (!signature || !(await isSigned(fromBase64(signature.signature), bytes, key))) {
      throw new Error("What the server says of the door is not signed by it");
    }
    const bundle = JSON.parse(signed.bundle);
    // Somebody in between may send an old one again.
    const { at, version } = this.known ?? {};
    const isOld = Date.parse(bundle.at) < Date.parse(at) - CLOCKS || (bundle.since ?? version) !== version;
    if (isOld || bundle.event.id !== this.event) throw new Error("What the server says of the door is old");
    const known = bundle.since === null ? null : this.known;
    this.known = {
      event: bundle.event,
      at: bundle.at,
      version: bundle.version,
      keys: bundle.keys,
      revokedKeys: bundle.revoked_keys,
      bundleKeys: bundle.bundle_keys,
      gate: bundle.gate_id,
      gates: bundle.gates,
      counts: bundle.counts,
      void: known?.void ?? new Set(),
      inside: known?.inside ?? new Set(),
      typeOf: known?.typeOf ?? new Map(),
    };
    for (const [ticket, nonce] of bundle.void) this.known.void.add(`${ticket} ${nonce}`);
    for (const ticket of bundle.outside) this.known.inside.delete(ticket);
    for (const ticket of bundle.inside) this.known.inside.add(ticket);
    for (const { seat_type_id: type, tickets } of bundle.seat_types) {
      for (const ticket of tickets) this.known.typeOf.set(ticket, type);
    }
    await this.noteWaiting();
    await store.write("known", this.known);
  }

  // Remembers those whom this device has let in, and of whom the server does not know.
  async noteWaiting() {
    for (const { text } of await store.scans()) await this.note(text);
  }
}

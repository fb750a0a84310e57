// The page: what the person at the door sees, hears and taps.
import { Camera } from "./camera.js";
import { Door } from "./door.js";
import * as store from "./store.js";

const $ = (id) => document.getElementById(id);
const EVERY = 15_000;
// How long a code that was just read is not read again.
const AGAIN = 3_000;
const WORDS = {
  ok: "Come in",
  already_used: "Used already",
  void: "Not valid",
  wrong_event: "Other event",
  wrong_gate: "Other gate",
  unknown: "No ticket",
  forged: "Forged",
};

let door = null;
let camera = null;
let last = { text: null, at: 0 };
let lastIn = null;
let isBusy = false;
let audio = null;

// The door key of a link: `/scan#<event>.<key>`. It is after the #, so that no server hears of it.
function linked(text) {
  const found = /#(\d{1,10})\.(nxd_[\w-]{43})$/.exec(text);
  return found && { event: Number(found[1]), key: found[2] };
}

async function enter({ event, key }) {
  await store.write("key", { event, key });
  door = await Door.open(event, key);
  show();
  await sync();
}

function show() {
  const known = door?.known;
  $("setup").hidden = door !== null;
  $("search").hidden = $("forget").hidden = door === null;
  $("event").textContent = known?.event.name ?? "Scan tickets";
  $("when").textContent = known ? local(known.event) : "";
  const gates = door && known && known.gate === null ? known.gates : [];
  $("gates").hidden = gates.length === 0;
  if ($("gate").children.length !== gates.length + 1) {
    $("gate").replaceChildren(new Option("Not said", ""), ...gates.map((gate) => new Option(gate.name, gate.id)));
    $("gate").value = door?.gate ?? "";
  }
}

/** When the event starts, in its own time zone. */
function local({ start_date, time_zone }) {
  // What was kept before there were zones has none.
  const format = { dateStyle: "full", timeStyle: "short", timeZone: time_zone ?? "UTC" };
  return `${new Date(start_date).toLocaleString([], format)} (${format.timeZone})`;
}

async function say() {
  const waiting = (await store.scans()).length;
  const counts = door?.known?.counts;
  const gate = door?.known?.gates.find((one) => one.id === door.known.gate)?.name;
  const parts = [gate, counts && `${counts.checked_in} of ${counts.sold} in`];
  if (door && !door.isOnline) parts.push("no network");
  if (waiting > 0) parts.push(`${waiting} to be uploaded`);
  $("status").textContent = parts.filter(Boolean).join(" · ");
  document.body.classList.toggle("offline", Boolean(door && !door.isOnline));
}

async function sync() {
  if (!door) return;
  try {
    const problems = await door.sync();
    if (problems.length > 0) report(problems);
  } catch (error) {
    report([error.message]);
  }
  show();
  await say();
}

function report(problems) {
  const list = $("problems").querySelector("ul");
  list.append(...problems.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  $("problems").hidden = false;
  $("problems").querySelector("summary").textContent = `${list.children.length} to look at`;
}

// Of each verdict a sound of its own, for whoever looks at the guest and not at the screen.
function sound(isOk) {
  if (!audio) return;
  for (const [at, pitch] of isOk ? [[0, 880]] : [[0, 220], [0.2, 180]]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.value = 0.2;
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.15);
  }
  navigator.vibrate?.(isOk ? 80 : [150, 80, 150]);
}

function tell(checked) {
  const { result, message, ticket, check_in: before } = checked;
  const isOk = result === "ok";
  $("verdict").className = isOk ? "ok" : ["already_used", "wrong_gate", "wrong_event"].includes(result) ? "warn" : "";
  $("result").textContent = WORDS[result] ?? result;
  const when = before && new Date(before.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const earlier = !isOk && before ? ` (${[when, before.gate?.name].filter(Boolean).join(", ")})` : "";
  $("message").textContent = isOk && checked.offline ? "Checked without a network" : message + earlier;
  $("ticket").textContent = ticket
    ? [`${ticket.seat_type_name} ${ticket.seat_label}`, ticket.holder_name, ticket.booking_reference].filter(Boolean).join("\n")
    : "";
  $("verdict").hidden = false;
  $("verdict").dataset.result = result;
  $("verdict").focus();
  sound(isOk);
  clearTimeout(tell.timer);
  // Nobody has to tap for those who come in.
  if (isOk) tell.timer = setTimeout(next, 1_500);
  lastIn = isOk ? checked.scan_id : lastIn;
  $("undo").hidden = lastIn === null;
}

function next() {
  clearTimeout(tell.timer);
  $("verdict").hidden = true;
}

async function attempt(work) {
  if (isBusy) return;
  isBusy = true;
  try {
    tell(await work());
  } catch (error) {
    tell({ result: "unknown", message: error.message });
  }
  isBusy = false;
  await say();
}

async function found(text) {
  if (!$("verdict").hidden || isBusy) return;
  if (text === last.text && Date.now() - last.at < AGAIN) {
    last.at = Date.now();
    return;
  }
  last = { text, at: Date.now() };
  const key = linked(text);
  if (key) return enter(key);
  if (door) await attempt(() => door.scan(text));
  last.at = Date.now();
}

$("start").onclick = async () => {
  audio ??= new AudioContext();
  try {
    camera = await Camera.start($("video"), found);
    $("start").hidden = true;
    $("torch").hidden = !camera.hasTorch;
    // A screen that goes dark stops the queue.
    await navigator.wakeLock?.request("screen").catch(() => {});
  } catch {
    $("status").textContent = "The camera cannot be used: allow it in the browser's settings.";
  }
};
$("torch").onclick = async () => {
  const isOn = $("torch").ariaPressed !== "true";
  await camera.setTorch(isOn);
  $("torch").ariaPressed = String(isOn);
};
$("next").onclick = next;
$("gate").onchange = () => (door.gate = Number($("gate").value) || null);
$("undo").onclick = async () => {
  try {
    await door.undo(lastIn);
    lastIn = null;
    $("undo").hidden = true;
  } catch (error) {
    report([error.message]);
  }
  await say();
};
$("search").onsubmit = async (submitted) => {
  submitted.preventDefault();
  const entry = (ticket) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = [ticket.holder_name, `${ticket.seat_type_name} ${ticket.seat_label}`, ticket.status === "used" ? "in already" : ticket.booking_reference]
      .filter(Boolean)
      .join(" · ");
    button.onclick = () => attempt(() => door.byHand(ticket.ticket_id)).then(() => $("found").replaceChildren());
    const item = document.createElement("li");
    item.append(button);
    return item;
  };
  try {
    const tickets = await door.search($("q").value);
    $("found").replaceChildren(...tickets.map(entry));
    if (tickets.length === 0) $("found").textContent = "Nobody was found.";
  } catch (error) {
    $("found").textContent = error.message ?? "There is no network.";
  }
};
$("forget").onclick = async () => {
  const waiting = (await store.scans()).length;
  if (waiting > 0) return report([`${waiting} scans are still to be uploaded: connect to a network first`]);
  if (!confirm("Leave this event? The door key is needed to come back.")) return;
  await store.forgetEverything();
  location.reload();
};
addEventListener("online", sync);
addEventListener("offline", () => {
  if (door) door.isOnline = false;
  say();
});
addEventListener("hashchange", openLink);
setInterval(sync, EVERY);

async function openLink() {
  const key = linked(location.href);
  if (!key) return false;
  history.replaceState(null, "", location.pathname);
  await enter(key);
  return true;
}

navigator.serviceWorker?.register("/scan/worker.js", { scope: "/scan" }).catch((error) => report([error.message]));
navigator.storage?.persist?.();
if (!(await openLink())) {
  const kept = await store.read("key");
  if (kept) await enter(kept);
  else show();
}
document.body.dataset.ready = "true";

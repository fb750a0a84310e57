// What this device keeps, in IndexedDB: the door key, what it knows of the door, and scans that the
// server does not know yet.
const open = () =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open("scan", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("state");
      request.result.createObjectStore("scans", { keyPath: "scan_id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const database = open();

// Carries out one request; what it has written is on the disk when this returns.
async function transaction(store, mode, work) {
  const db = await database;
  return new Promise((resolve, reject) => {
    const tx = db.transaction(store, mode, { durability: "strict" });
    const request = work(tx.objectStore(store));
    tx.oncomplete = () => resolve(request?.result);
    tx.onabort = tx.onerror = () => reject(tx.error);
  });
}

export const read = (name) => transaction("state", "readonly", (store) => store.get(name));
export const write = (name, value) => transaction("state", "readwrite", (store) => store.put(value, name));
export const scans = () => transaction("scans", "readonly", (store) => store.getAll());
export const keep = (scan) => transaction("scans", "readwrite", (store) => store.put(scan));
export const forget = (ids) =>
  transaction("scans", "readwrite", (store) => void ids.forEach((id) => store.delete(id)));
export async function forgetEverything() {
  await transaction("state", "readwrite", (store) => store.clear());
  await transaction("scans", "readwrite", (store) => store.clear());
}

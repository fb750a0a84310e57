// A real browser with some pages, each of an origin of its own. The first line on standard input is `{executable, profile, pages, camera}`, answered by
// `{type: "origins", origins}`; every further one is `{id, page, call, args}`: a function of page.js, called in that page; or
// `{id, page, act, args}`: a method of Playwright's page. Both are answered by `{type: "result", id, result}`. What the browser itself says about a page is `{type: "console", page, text}`.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const file = (path) => readFile(new URL(path, import.meta.url));

const types = { html: "text/html", js: "text/javascript" };
const files = {
  "/page.html": `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="socket.io.min.js"></script><script src="page.js"></script>`,
  "/page.js": await file("page.js"),
  "/socket.io.min.js": await file("node_modules/socket.io-client/dist/socket.io.min.js"),
};
const serve = ({ url }, response) => {
  const found = files[url] !== undefined;
  response.writeHead(found ? 200 : 404, { "content-type": types[url.split(".").pop()] ?? "text/plain" }).end(files[url]);
};

const { executable, profile, pages, camera } = JSON.parse((await lines.next()).value);
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: executable,
  args: [
    ...(camera ? ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-video-capture=${camera}`] : []),
    "--disable-gpu", "--disable-quic", "--disable-sync", "--disable-component-update", "--disable-background-networking",
  ],
  // What the browser keeps beside its profile.
  env: { ...process.env, HOME: profile },
  handleSIGTERM: false,
});
process.once("SIGTERM", async () => {
  await browser.close();
  process.exit();
});
const origins = [];
const open = [];
for (let number = 0; number < pages; number++) {
  const server = createServer(serve).listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `http://127.0.0.1:${server.address().port}`;
  const page = await browser.newPage();
  page.on("console", (message) => tell({ type: "console", page: number, text: message.text() }));
  await page.goto(`${origin}/page.html`);
  origins.push(origin);
  open.push(page);
}
tell({ type: "origins", origins });

for await (const line of lines) {
  const { id, page, call, act, args } = JSON.parse(line);
  const result = call
    ? await open[page].evaluate(([call, args]) => globalThis[call](...args), [call, args])
    : await open[page][act](...args).then((result) => (typeof result === "string" ? result : null), ({ message }) => message);
  tell({ type: "result", id, result });
}

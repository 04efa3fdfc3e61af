// The service worker: it keeps the page itself, never a model, so that the page opens without a
// network. What it keeps is one whole version: every file or none, until the person asks for the
// next one.

// The build replaces this line by the page's files, each with its SHA-256 (`cargo xtask precache`).
const SHELL = { version: "", files: [] };

const SCOPE = new URL(self.registration.scope);
const PREFIX = "paligemma-shell-";
// A site may hold several copies of the page in as many folders; they share one cache storage.
const CACHE = PREFIX + SHELL.version + SCOPE.pathname;
const ADDRESSES = new Set(SHELL.files.map(([path]) => new URL(path, SCOPE).href));

self.addEventListener("install", (event) => event.waitUntil(fill()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("message", (event) => {
  if (event.data === "skipWaiting") self.skipWaiting();
});
self.addEventListener("fetch", (event) => {
  const address = addressOf(event.request);
  if (address) event.respondWith(answer(address, event.request));
});

// Fetches everything. A file that is not the one in the list fails the whole, so that a server
// which is just being updated never leaves a mixture of two versions.
async function fill() {
  if (SHELL.files.length === 0) {
    throw new Error("the page was built without the list of its files: `cargo xtask precache DIST` writes it");
  }
  const cache = await caches.open(CACHE);
  const fetchAll = (mode) =>
    cache.addAll(
      SHELL.files.map(
        ([path, integrity]) => new Request(new URL(path, SCOPE), { cache: mode, integrity }),
      ),
    );
  try {
    // Most of it has just been loaded and is only asked about. Some servers tell versions apart by
    // times that say nothing: then everything is loaded again.
    await fetchAll("no-cache").catch(() => fetchAll("reload"));
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

// From here on every open page is served by this version, also one that was opened before there
// was any service worker.
async function takeOver() {
  const isOlder = (name) =>
    name.startsWith(PREFIX) && name.slice(name.indexOf("/")) === SCOPE.pathname && name !== CACHE;
  const names = await caches.keys();
  await Promise.all(names.filter(isOlder).map((name) => caches.delete(name)));
  await self.clients.claim();
}

// Under which address the answer to a request is kept; none for what is the network's business:
// models, other sites, parts of files, anything but reading.
function addressOf(request) {
  if (request.method !== "GET" || request.headers.has("range")) return undefined;
  const url = new URL(request.url);
  url.hash = "";
  if (request.mode === "navigate") {
    // The page reads its own query.
    url.search = "";
    if (url.href === new URL("index.html", SCOPE).href) return SCOPE.href;
  }
  return ADDRESSES.has(url.href) ? url.href : undefined;
}

async function answer(address, request) {
  // Not `caches.open`, which would make an emptied cache anew.
  const kept = await caches.match(address, { cacheName: CACHE, ignoreVary: true });
  return kept ?? fetch(request);
}

// Starts the page: a file of its own, because the content security policy allows no inline script.
// Trunk writes the names of what it built into this script's element (`pattern_script`).

try {
  // Before anything is drawn, so that no light flash precedes a dark page.
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";
} catch {
  // Storage is switched off: the system's colours it is.
}

const { js, wasm } = document.querySelector("script[data-wasm]").dataset;
const at = (path) => new URL(path, document.baseURI);

try {
  const page = await import(at(js));
  await page.default({ module_or_path: at(wasm) });
} catch (error) {
  const words = document.getElementById("starting-words");
  // Once the page is there, it speaks for itself.
  if (words) {
    words.setAttribute("role", "alert");
    words.textContent =
      `The page could not start (${error}). Check the connection and reload; if that does not ` +
      "help, use a current Chrome, Edge, Firefox or Safari.";
    await offerAnew(words);
  }
  throw error;
}

// What the service worker has kept would come again and again, and a page that does not start
// cannot offer its own update: this lets the person leave it.
async function offerAnew(words) {
  const kept = await navigator.serviceWorker?.getRegistration().catch(() => undefined);
  if (!kept) return;
  const button = document.createElement("button");
  button.id = "anew";
  button.textContent = "Load the page anew";
  button.addEventListener("click", async () => {
    await kept.unregister();
    location.reload();
  });
  words.after(button);
}

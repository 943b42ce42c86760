// Live parts of a page: `hx-ext="live" hx-swap="live"` patches only what differs, so focus, selection and checked boxes
// stay. Elements that may move have a data-key; the content of data-own belongs to a script and is not patched.
(() => {
  "use strict";
  const KEPT = new Set(["checked", "open"]);

  const keyOf = (node) => (node.dataset ? node.dataset.key : undefined);
  const alike = (old, fresh) => old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);

  const patchAttributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      // The admin marks selected rows with a class.
      const kept = KEPT.has(name) || (name === "class" && old.nodeName === "TR");
      if (!fresh.hasAttribute(name) && !kept) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !KEPT.has(name)) old.setAttribute(name, value);
    }
  };

  const patchChildren = (old, fresh) => {
    const children = [...fresh.childNodes];
    const wanted = new Set(children.map(keyOf));
    const keyed = new Map();
    for (const child of [...old.children]) {
      const key = keyOf(child);
      if (key === undefined) continue;
      if (wanted.has(key)) keyed.set(key, child);
      else child.remove();
    }
    let at = old.firstChild;
    for (const child of children) {
      const match = keyOf(child) === undefined ? at : keyed.get(keyOf(child));
      if (!match || !alike(match, child)) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      patch(match, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  const patch = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.hasAttribute("data-own")) return;
    patchAttributes(old, fresh);
    patchChildren(old, fresh);
  };

  const keepingFocus = (work) => {
    const focused = document.activeElement;
    work();
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  };

  htmx.defineExtension("live", {
    isInlineSwap: (style) => style === "live",
    handleSwap: (style, target, fragment) => {
      const fresh = fragment.querySelector(`#${target.id}`);
      if (style !== "live" || !fresh) return false;
      keepingFocus(() => patch(target, fresh));
      return [];
    },
  });

  const isLive = (event) => event.target.getAttribute && event.target.getAttribute("hx-swap") === "live";
  const stale = (event) => {
    if (isLive(event)) event.target.classList.add("w-stale");
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    // Nobody looks at another tab of the browser, or of the page.
    if (isLive(event) && (document.hidden || event.target.closest("[hidden]"))) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, pathInfo } = event.detail;
    // After a sign-out, the response is the sign-in page.
    const elsewhere = new URL(xhr.responseURL, location.href).pathname !== new URL(pathInfo.requestPath, location.href).pathname;
    if (isLive(event) && elsewhere) location.reload();
  });
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.addEventListener(name, stale);
})();

// The search dialog: Ctrl-K or "/" opens it, arrow keys walk through what was found, Escape closes it.
(() => {
  "use strict";
  const TYPING = "input, textarea, select, [contenteditable]";
  const dialog = () => document.getElementById("find");

  const open = () => {
    if (!dialog() || dialog().open) return;
    dialog().showModal();
    document.getElementById("find-text").select();
  };
  const walk = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const stops = [document.getElementById("find-text"), ...dialog().querySelectorAll("#found a")];
    const next = step && stops[stops.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (dialog() && dialog().open) {
      walk(event);
      return;
    }
    const shortcut = event.key === "k" && (event.ctrlKey || event.metaKey);
    const slash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest(TYPING);
    if (!shortcut && !slash) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-close-find]")) dialog().close();
    if (!event.target.closest("[data-open-find]")) return;
    event.preventDefault();
    open();
  });
})();

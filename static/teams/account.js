// What the pages of accounts need of a script: showing a password, printing, and saying why a passkey did not work.
(() => {
  "use strict";
  for (const button of document.querySelectorAll("[data-reveal], [data-print]")) button.hidden = false;

  const reveal = (button) => {
    const field = document.getElementById(button.dataset.reveal);
    const shown = field.type === "password";
    field.type = shown ? "text" : "password";
    button.firstChild.data = shown ? "Hide" : "Show";
    button.setAttribute("aria-pressed", shown);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reveal], [data-print]");
    if (!button) return;
    if ("print" in button.dataset) window.print();
    else reveal(button);
  });

  const WHY = {
    NotAllowedError: "Nothing came of it: it was cancelled, it took too long, or this device has no passkey for here.",
    InvalidStateError: "This device holds a passkey of yours for here already.",
    SecurityError: "The browser makes passkeys only for a host's name, over https or on localhost.",
  };
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const place = document.getElementById("passkey-error");
    place.textContent = WHY[event.detail.exception.name] || "This browser cannot use passkeys here.";
    place.hidden = false;
  });
})();

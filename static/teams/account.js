// Account pages: tell the time zone, reveal a password, print recovery codes, explain passkey errors.
(() => {
  "use strict";
  for (const button of document.querySelectorAll("[data-reveal], [data-print]")) button.hidden = false;

  for (const field of document.querySelectorAll("[data-time-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";

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

  const MESSAGES = {
    NotAllowedError: "Cancelled, timed out, or this device has no passkey for this site.",
    InvalidStateError: "This device already has a passkey for this site.",
    SecurityError: "Passkeys require a host name with HTTPS, or localhost.",
  };
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const place = document.getElementById("passkey-error");
    place.textContent = MESSAGES[event.detail.exception.name] || "This browser does not support passkeys here.";
    place.hidden = false;
  });
})();

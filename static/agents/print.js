// Collapsed sections are expanded for printing.
(() => {
  "use strict";
  let collapsed = [];
  window.addEventListener("beforeprint", () => {
    collapsed = [...document.querySelectorAll(".w details:not([open])")];
    for (const one of collapsed) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of collapsed) one.open = false;
  });
})();

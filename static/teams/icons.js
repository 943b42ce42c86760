// Icons are words in an icon font: without this, screen readers would read "dock_to_right" aloud. Our own templates hide
// theirs; this hides those of the theme, also in parts that are swapped in later.
"use strict";
{
  const hide = (root) => {
    for (const icon of root.querySelectorAll(".material-symbols-outlined:not([aria-hidden])")) icon.setAttribute("aria-hidden", "true");
  };
  document.addEventListener("DOMContentLoaded", () => {
    hide(document);
    new MutationObserver(() => hide(document)).observe(document.body, { childList: true, subtree: true });
  });
}

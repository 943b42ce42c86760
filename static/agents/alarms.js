// The number of incidents that nobody has acknowledged, in the tab's title and icon: seen from any other tab.
(() => {
  "use strict";
  const title = document.title;
  const link = document.querySelector('link[rel="icon"]');
  const calm = link ? link.getAttribute("href") : "";

  const show = () => {
    const source = document.querySelector("[data-alarms]");
    if (!source) return;
    const count = Number(source.dataset.alarms);
    document.title = count ? `(${count}) ${title}` : title;
    if (link) link.setAttribute("href", count ? source.dataset.alarmIcon : calm);
  };
  document.addEventListener("DOMContentLoaded", () => {
    show();
    new MutationObserver(show).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-alarms"] });
  });
})();

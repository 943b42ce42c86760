// The number of incidents that nobody has acknowledged, in the tab's title and icon. It also asks while another tab is in
// front, which is when it is needed; browsers then let it ask once a minute.
(() => {
  "use strict";
  const EVERY = 5_000;
  const { url, icon } = document.currentScript.dataset;
  const title = document.title;
  const link = document.querySelector('link[rel="icon"]');
  const calm = link ? link.getAttribute("href") : "";

  const show = (count) => {
    document.title = count ? `(${count}) ${title}` : title;
    if (link) link.setAttribute("href", count ? icon : calm);
  };

  // After a sign-out, the answer leads to the sign-in page: no alarm is better than a wrong one.
  const ask = async () => {
    const answer = await fetch(url, { redirect: "manual", cache: "no-store" }).catch(() => null);
    if (answer?.ok) show((await answer.json()).alarms);
    else if (answer?.type === "opaqueredirect") show(0);
  };

  ask();
  setInterval(ask, EVERY);
})();

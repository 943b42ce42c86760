// Refreshes the page every 30 seconds without scrolling. A failed request is retried at the next interval.
const EVERY = 30_000;
setInterval(async () => {
  const answer = await fetch(location.href, { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok || document.hidden) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("main").replaceWith(page.getElementById("main"));
  document.title = page.title;
}, EVERY);

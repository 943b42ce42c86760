// The page as it is now, every 30 seconds, without a jump. What cannot be had is asked for again.
const EVERY = 30_000;
setInterval(async () => {
  const answer = await fetch(location.href, { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok || document.hidden) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("main").replaceWith(page.getElementById("main"));
  document.title = page.title;
}, EVERY);

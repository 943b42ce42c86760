// Tabs: a nav with data-tabs, with links to the sections after it. One section is shown at a time: the one in the URL
// (#python), else the last one used. Without this script, all sections are shown and the links lead to them.
(() => {
  "use strict";
  const kept = (name) => `tab:${name}`;

  const choose = (nav, tab, focus) => {
    for (const one of nav.children) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", chosen);
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.hash.slice(1)).hidden = !chosen;
    }
    if (focus) tab.focus();
    localStorage.setItem(kept(nav.dataset.tabs), tab.hash);
  };

  const dress = (nav) => {
    nav.setAttribute("role", "tablist");
    for (const tab of nav.children) {
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", tab.hash.slice(1));
      const panel = document.getElementById(tab.hash.slice(1));
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
    }
    const of = (hash) => [...nav.children].find((tab) => tab.hash === hash);
    choose(nav, of(location.hash) || of(localStorage.getItem(kept(nav.dataset.tabs))) || nav.children[0]);
  };

  const tabOf = (event) => event.target.closest("[data-tabs] > [role=tab]");
  document.addEventListener("click", (event) => {
    const tab = tabOf(event);
    if (!tab) return;
    event.preventDefault();
    choose(tab.parentElement, tab);
    history.replaceState(null, "", tab.hash);
  });
  document.addEventListener("keydown", (event) => {
    const tab = tabOf(event);
    if (!tab) return;
    const nav = tab.parentElement;
    const next = {
      ArrowRight: tab.nextElementSibling || nav.firstElementChild,
      ArrowLeft: tab.previousElementSibling || nav.lastElementChild,
      Home: nav.firstElementChild,
      End: nav.lastElementChild,
    }[event.key];
    if (event.key === " ") tab.click();
    else if (next) choose(nav, next, true);
    else return;
    event.preventDefault();
  });
  addEventListener("hashchange", () => {
    const tab = document.querySelector(`[data-tabs] > [role=tab][href="${CSS.escape(location.hash).replace("\\#", "#")}"]`);
    if (tab) choose(tab.parentElement, tab);
  });

  // Including content that is loaded later.
  htmx.onLoad((root) => root.querySelectorAll("[data-tabs]").forEach(dress));
})();

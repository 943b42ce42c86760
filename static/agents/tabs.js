// Tabs: a nav with data-tabs, with links into the panels after it. One panel is shown at a time: that of the URL
// (#python), else data-open, else the last one used under the name in data-tabs, which may be empty. Links elsewhere on
// the page open the panel they lead into. Without this script, all panels are shown and the links lead to them.
(() => {
  "use strict";
  const kept = (name) => `tab:${name}`;
  const panelOf = (tab) => {
    const target = document.getElementById(tab.hash.slice(1));
    return target.closest(".w-tab") || target;
  };

  // Parts that poll do so only while they are shown, so they are asked once their panel opens.
  const refresh = (panel) => {
    for (const part of panel.querySelectorAll('[hx-trigger*="refresh"]')) htmx.trigger(part, "refresh");
  };

  const choose = (nav, tab, focus) => {
    for (const one of nav.children) {
      const chosen = one === tab;
      const panel = panelOf(one);
      const opens = chosen && panel.hidden;
      one.setAttribute("aria-selected", chosen);
      one.tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
      if (opens) refresh(panel);
    }
    if (focus) tab.focus();
    if (nav.dataset.tabs) localStorage.setItem(kept(nav.dataset.tabs), tab.hash);
  };

  // The tab whose panel holds the target of a link.
  const tabTo = (nav, hash) => {
    const target = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
    return target && [...nav.children].find((tab) => tab.hash === hash || panelOf(tab).contains(target));
  };

  const dress = (nav) => {
    nav.setAttribute("role", "tablist");
    for (const tab of nav.children) {
      const panel = panelOf(tab);
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
    }
    const last = nav.dataset.tabs && localStorage.getItem(kept(nav.dataset.tabs));
    choose(nav, tabTo(nav, location.hash) || tabTo(nav, nav.dataset.open) || tabTo(nav, last) || nav.children[0]);
    reveal(nav, location.hash);
  };

  // A section within a panel is scrolled to; a panel is where the person is already.
  const reveal = (nav, hash) => {
    const tab = tabTo(nav, hash);
    if (tab && tab.hash !== hash) document.getElementById(decodeURIComponent(hash.slice(1))).scrollIntoView();
  };

  const tabOf = (event) => event.target.closest("[data-tabs] > [role=tab]");
  const goTo = (tab, focus) => {
    choose(tab.parentElement, tab, focus);
    history.replaceState(null, "", tab.hash);
  };
  document.addEventListener("click", (event) => {
    const tab = tabOf(event);
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(tab);
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
    else if (next) goTo(next, true);
    else return;
    event.preventDefault();
  });
  addEventListener("hashchange", () => {
    for (const nav of document.querySelectorAll("[data-tabs]")) {
      const tab = tabTo(nav, location.hash);
      if (!tab) continue;
      choose(nav, tab);
      reveal(nav, location.hash);
    }
  });

  // Including content that is loaded later.
  htmx.onLoad((root) => root.querySelectorAll("[data-tabs]").forEach(dress));
})();

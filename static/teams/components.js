// The components of the admin's pages. Attributes are no scripts: Alpine's CSP build evaluates simple expressions only, so
// whatever Unfold's templates and ours call is registered here.
document.addEventListener("alpine:init", () => {
  "use strict";

  // Unfold's own, global functions of its app.js.
  Alpine.data("theme", theme);
  Alpine.data("searchForm", searchForm);

  // On `body`, around everything else.
  Alpine.data("page", (tab = "") => ({
    activeTab: tab,
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    // Unfold's attributes read and set the address; the evaluator gives them no `window`.
    window: {
      location: {
        get pathname() { return location.pathname; },
        get search() { return location.search; },
        get hash() { return location.hash; },
        set href(url) { location.href = url; },
      },
    },
    init() {
      if (tab) this.activeTab = getCurrentTab() || tab;
      this.$watch("sidebarDesktopOpen", (open) => localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"));
    },
    openNavigation() {
      this.sidebarMobileOpen = true;
      this.$nextTick(() => document.getElementById("close-navigation").focus());
    },
    closeNavigation() {
      if (!this.sidebarMobileOpen) return;
      this.sidebarMobileOpen = false;
      this.$nextTick(() => document.getElementById("open-navigation").focus());
    },
  }));

  Alpine.data("accountMenu", () => ({
    openUserLinks: false,
    escape(event) {
      if (!this.openUserLinks) return;
      this.openUserLinks = false;
      this.$refs.account.focus();
      event.stopPropagation();
    },
    leave(event) {
      if (!this.$refs.account.contains(event.target)) this.openUserLinks = false;
    },
  }));
});

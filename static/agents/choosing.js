// Agents that are chosen in a table that polls. Who is chosen stays so while rows move, go and come back; the bar under
// the table says how many there are, and takes effect on all of them.
(() => {
  "use strict";
  const chosen = new Set();
  let isAll = false;
  let last = null;

  const bar = () => document.getElementById("choosing");
  const table = () => document.getElementById("result_list");
  const boxes = () => [...document.querySelectorAll("#result_list [name=_selected_action]")];
  const total = () => Number(table().dataset.total);

  const said = (shown) => {
    if (isAll) return `All ${total().toLocaleString("en")} selected`;
    const away = chosen.size - shown.filter((box) => chosen.has(box.value)).length;
    return `${chosen.size} selected${away ? `, ${away} of them not in the table now` : ""}`;
  };

  const offer = (what, isOffered, text) => {
    const button = bar().querySelector(`[data-choose=${what}]`);
    button.hidden = !isOffered;
    if (button.textContent !== text) button.textContent = text;
  };

  // What is shown follows what is chosen: also in rows that have just come.
  const show = () => {
    if (!bar()) return;
    const shown = boxes();
    for (const box of shown) {
      box.checked = isAll || chosen.has(box.value);
      box.closest("tr").classList.toggle("selected", box.checked);
    }
    const isSome = isAll || chosen.size > 0;
    const ticked = shown.filter((box) => box.checked).length;
    const toggle = document.getElementById("choose-shown");
    toggle.checked = shown.length > 0 && ticked === shown.length;
    toggle.indeterminate = ticked > 0 && ticked < shown.length;
    bar().classList.toggle("w-some", isSome);
    bar().querySelector("[name=select_across]").value = isAll ? "1" : "0";
    const status = bar().querySelector("[role=status]");
    status.dataset.none = status.dataset.none || status.textContent;
    const text = isSome ? said(shown) : status.dataset.none;
    if (status.textContent !== text) status.textContent = text;
    for (const button of bar().querySelectorAll("[name=action]")) button.disabled = !isSome;
    offer("shown", !isSome, `Select these ${shown.length}`);
    offer("all", isSome && !isAll && total() > chosen.size, `Select all ${total().toLocaleString("en")}`);
    offer("none", isSome, "Clear");
  };

  const choose = (few, isChosen) => {
    if (isAll) boxes().forEach((box) => chosen.add(box.value));
    isAll = false;
    for (const box of few) chosen[isChosen ? "add" : "delete"](box.value);
  };

  // From the box that was last ticked up to this one, with Shift.
  const upTo = (box) => {
    const all = boxes();
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    return from < 0 ? [box] : all.slice(from, to + 1);
  };

  let isShift = false;
  document.addEventListener("click", (event) => {
    isShift = event.shiftKey;
    const wanted = event.target.closest("[data-choose]");
    if (!wanted) return;
    const { choose: what } = wanted.dataset;
    chosen.clear();
    if (what === "shown") choose(boxes(), true);
    isAll = what === "all";
    show();
    bar().querySelector(what === "none" ? "[data-choose=shown]" : "[name=action]").focus();
  }, true);
  document.addEventListener("change", ({ target }) => {
    if (target.id === "choose-shown") choose(boxes(), target.checked);
    else if (target.name === "_selected_action") {
      choose(isShift ? upTo(target) : [target], target.checked);
      last = target;
    } else return;
    show();
  });
  // Enter in a box would press the first button of the form; it leads there instead, past all other rows.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("#choose-shown, [name=_selected_action]")) return;
    event.preventDefault();
    const button = bar().querySelector("[name=action]:enabled");
    if (button) button.focus();
  });
  // Of those that are not in the table there is no box to send. They go in one field, since a request may have a
  // thousand at most.
  document.addEventListener("formdata", ({ target, formData }) => {
    if (!target.contains(bar())) return;
    const ids = new Set([...formData.getAll("_selected_action"), ...chosen]);
    if (ids.size) formData.set("_selected_action", [...ids].join(","));
  });
  document.addEventListener("htmx:afterSwap", show);
  // Whoever comes back to the page finds the boxes as the browser remembers them.
  window.addEventListener("pageshow", () => {
    for (const box of boxes()) if (box.checked) chosen.add(box.value);
    show();
  });
})();

// Selecting agents in a table that polls. The selection survives when rows move, disappear and return; the bar below the
// table shows its size and acts on all of it.
(() => {
  "use strict";
  const selected = new Set();
  let isAll = false;
  let last = null;

  const bar = () => document.getElementById("selection");
  const table = () => document.getElementById("result_list");
  const boxes = () => [...document.querySelectorAll("#result_list [name=_selected_action]")];
  const total = () => Number(table().dataset.total);

  const summary = (shown) => {
    if (isAll) return `All ${total().toLocaleString("en")} selected`;
    const hidden = selected.size - shown.filter((box) => selected.has(box.value)).length;
    return `${selected.size} selected${hidden ? `, ${hidden} not shown in the table` : ""}`;
  };

  const offer = (what, isOffered, text) => {
    const button = bar().querySelector(`[data-select=${what}]`);
    button.hidden = !isOffered;
    if (button.textContent !== text) button.textContent = text;
  };

  // Checkboxes follow the selection, including those in new rows.
  const show = () => {
    if (!bar()) return;
    const shown = boxes();
    for (const box of shown) {
      box.checked = isAll || selected.has(box.value);
      box.closest("tr").classList.toggle("selected", box.checked);
    }
    const isSome = isAll || selected.size > 0;
    const checked = shown.filter((box) => box.checked).length;
    const toggle = document.getElementById("select-shown");
    toggle.checked = shown.length > 0 && checked === shown.length;
    toggle.indeterminate = checked > 0 && checked < shown.length;
    bar().classList.toggle("w-some", isSome);
    bar().querySelector("[name=select_across]").value = isAll ? "1" : "0";
    const status = bar().querySelector("[role=status]");
    status.dataset.none = status.dataset.none || status.textContent;
    const text = isSome ? summary(shown) : status.dataset.none;
    if (status.textContent !== text) status.textContent = text;
    for (const button of bar().querySelectorAll("[name=action]")) button.disabled = !isSome;
    offer("shown", !isSome, `Select all ${shown.length} shown`);
    offer("all", isSome && !isAll && total() > selected.size, `Select all ${total().toLocaleString("en")}`);
    offer("none", isSome, "Clear selection");
  };

  const select = (some, isSelected) => {
    if (isAll) boxes().forEach((box) => selected.add(box.value));
    isAll = false;
    for (const box of some) selected[isSelected ? "add" : "delete"](box.value);
  };

  // With Shift: the range from the last clicked box to this one.
  const rangeTo = (box) => {
    const all = boxes();
    const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
    return from < 0 ? [box] : all.slice(from, to + 1);
  };

  let isShift = false;
  document.addEventListener("click", (event) => {
    isShift = event.shiftKey;
    const button = event.target.closest("[data-select]");
    if (!button) return;
    const { select: what } = button.dataset;
    selected.clear();
    if (what === "shown") select(boxes(), true);
    isAll = what === "all";
    show();
    bar().querySelector(what === "none" ? "[data-select=shown]" : "[name=action]").focus();
  }, true);
  document.addEventListener("change", ({ target }) => {
    if (target.id === "select-shown") select(boxes(), target.checked);
    else if (target.name === "_selected_action") {
      select(isShift ? rangeTo(target) : [target], target.checked);
      last = target;
    } else return;
    show();
  });
  // Enter in a checkbox would press the form's first button. Move focus to that button instead, past all other rows.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("#select-shown, [name=_selected_action]")) return;
    event.preventDefault();
    const button = bar().querySelector("[name=action]:enabled");
    if (button) button.focus();
  });
  // Selected agents outside the table have no checkbox to submit. All ids go into one field, because a request may have
  // at most a thousand fields.
  document.addEventListener("formdata", ({ target, formData }) => {
    if (!target.contains(bar())) return;
    const ids = new Set([...formData.getAll("_selected_action"), ...selected]);
    if (ids.size) formData.set("_selected_action", [...ids].join(","));
  });
  document.addEventListener("htmx:afterSwap", show);
  // After "back", the browser restores the checkboxes.
  window.addEventListener("pageshow", () => {
    for (const box of boxes()) if (box.checked) selected.add(box.value);
    show();
  });
})();

/* Keys of a reader-study page: 1 to 5 grade the focused dimension and go on to the next; time on the page is counted
   while it is visible. Nothing else runs here. */
"use strict";
(() => {
  const form = document.getElementById("judgement");
  if (!form) return;
  const field = form.elements.namedItem("seconds");
  let spent = 0;
  let since = document.hidden ? null : performance.now();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && since !== null) {
      spent += performance.now() - since;
      since = null;
    } else if (!document.hidden && since === null) {
      since = performance.now();
    }
  });
  form.addEventListener("submit", () => {
    const now = since === null ? 0 : performance.now() - since;
    field.value = ((spent + now) / 1000).toFixed(1);
  });
  const groups = [...form.querySelectorAll(".grade")];
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("textarea, input[type=number]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !/^[1-5]$/.test(event.key)) return;
    const inside = document.activeElement ? document.activeElement.closest(".grade") : null;
    const open = groups.find((group) => !group.querySelector("input:checked"));
    const group = inside && !inside.querySelector("input:checked") ? inside : open || inside;
    if (!group) return;
    const choice = group.querySelector(`input[value="${event.key}"]`);
    choice.checked = true;
    choice.focus();
    event.preventDefault();
  });
})();

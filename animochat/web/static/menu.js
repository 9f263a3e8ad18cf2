/**
 * The menu of the chat: a button that shows a short list of further buttons.
 */

/** Whether one is open, and has the keyboard. */
export const menuIsOpen = () => document.querySelector(".menu:not([hidden])") !== null;

/** Make `button` show and hide `list`. Choosing something in it closes it, and so does turning to anything else. */
export function menu(button, list) {
  const items = () => [...list.querySelectorAll("button")].filter((item) => !item.hidden);

  const show = (visible) => {
    list.hidden = !visible;
    button.ariaExpanded = String(visible);
  };
  const step = (by) => {
    const all = items();
    const at = all.indexOf(document.activeElement);
    all[(at + by + all.length) % all.length]?.focus();
  };

  button.addEventListener("click", () => {
    show(list.hidden);
    if (!list.hidden) items()[0]?.focus();
  });
  // Before the pressed item acts: a dialog then gives the focus back to the button.
  list.addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    button.focus();
    show(false);
  }, { capture: true });
  document.addEventListener("pointerdown", (event) => {
    if (!list.contains(event.target) && !button.contains(event.target)) show(false);
  });
  list.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !list.contains(event.relatedTarget) && event.relatedTarget !== button) show(false);
  });
  // Captured, because Escape means something else to the rest of the page.
  document.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopImmediatePropagation();
      show(false);
      button.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      step(event.key === "ArrowDown" ? 1 : -1);
    }
  }, { capture: true });
}

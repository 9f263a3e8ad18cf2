/**
 * The document's dialogs. The browser keeps the focus inside, closes them by Escape, and gives the focus back.
 */

/**
 * Open a dialog; resolves with the `value` of the button that closed it, or "" when it was dismissed.
 * Of one that is open already, nothing is asked again.
 */
export function ask(id) {
  const dialog = document.getElementById(id);
  if (dialog.open) return Promise.resolve("");
  dialog.returnValue = "";
  dialog.showModal();
  // If it does not fit, it opens at its beginning, although the focus may be on a button further down.
  if (dialog.scrollHeight > dialog.clientHeight) dialog.querySelector("h2").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** Whether one is open, and has the keyboard. */
export function dialogIsOpen() {
  return document.querySelector("dialog[open]") !== null;
}

/** Close whatever is open, as if it were dismissed: it is about something that is over. */
export function dismissDialogs(...ids) {
  for (const id of ids) document.getElementById(id).close("");
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("[data-close]");
    if (button) dialog.close(button.value ?? "");
    // Its padding belongs to the form in it: what hits the dialog itself hit the backdrop.
    else if (event.target === dialog) dialog.close("");
  });
}

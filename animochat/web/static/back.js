/**
 * The browser's Back, which must not drop a chat by a slip: within a chat it asks first.
 *
 * A chat has an entry of its own in the tab's history. Back takes it away; it is put there again while there is a chat.
 */
const isOurs = () => history.state?.chat === true;

/** `pressed()` is called when Back was pressed; it returns whether the chat's entry is still wanted. */
export function onBack(pressed) {
  window.addEventListener("popstate", () => {
    if (!isOurs() && pressed()) holdBack();
  });
}

/** There is a chat, or what was said in one. */
export function holdBack() {
  if (!isOurs()) history.pushState({ chat: true }, "");
}

/** There is none: Back leads out of the page again. */
export function releaseBack() {
  if (isOurs()) history.back();
}

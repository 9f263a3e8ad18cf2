/**
 * A key that counts when it is pressed twice within a moment, so that nobody loses a conversation to a slip.
 */

// The moment, in milliseconds.
const MOMENT_MS = 1_000;

/**
 * Call `twice` when Escape is pressed two times within a moment. The first press calls `once`, the end of a moment in
 * which nothing followed calls `over`. `armed` says whether the key means anything right now.
 */
export function onEscapeTwice({ armed, once, twice, over }) {
  let waiting = 0;

  const disarm = () => {
    clearTimeout(waiting);
    waiting = 0;
    over();
  };

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") {
      if (waiting) disarm(); // typing in between says that it was a slip
      return;
    }
    // Escape also dismisses an input method's suggestions, and a key held down is one press.
    if (event.isComposing || event.keyCode === 229 || event.repeat || !armed()) return;
    event.preventDefault();
    if (waiting) {
      disarm();
      twice();
      return;
    }
    waiting = setTimeout(disarm, MOMENT_MS);
    once();
  });
}

/** A key held down must not also press the button that takes the place of the one it pressed first. */
export function ignoreHeldKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter" && event.target instanceof HTMLButtonElement) event.preventDefault();
  });
}

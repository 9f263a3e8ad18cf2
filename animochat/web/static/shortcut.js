/**
 * A key and a button that count when they are pressed twice, so that no one loses a conversation to a slip.
 */
import { write } from "./words.js";

// The moment within which the key is pressed again, in milliseconds.
const MOMENT_MS = 1_000;
// For how long the button asks, and for how long it does not listen after it has begun to: a double click is one slip.
const ASKING_MS = 4_000;
const DEAF_MS = 350;

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

/**
 * Call `twice` when the button is pressed, asks, and is pressed again before it has ceased to ask. `once` is called when it
 * begins to ask. `label` is what its text stands in, `asking` and `usual` are the keys of its two texts.
 * Returns a function that takes a first press back.
 */
export function pressTwice(button, label, { usual, asking, once, twice }) {
  let end = 0;
  let since = 0;

  const disarm = () => {
    clearTimeout(end);
    end = 0;
    button.classList.remove("asking");
    write(label, usual);
  };

  button.addEventListener("click", () => {
    if (!end) {
      since = performance.now();
      end = setTimeout(disarm, ASKING_MS);
      button.classList.add("asking");
      write(label, asking);
      once();
    } else if (performance.now() - since >= DEAF_MS) {
      disarm();
      twice();
    }
  });
  return disarm;
}

/** A key held down must not also press the button that takes the place of the one it pressed first. */
export function ignoreHeldKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter" && event.target instanceof HTMLButtonElement) event.preventDefault();
  });
}

/**
 * A text that counts seconds down.
 */
import { seconds, write } from "./words.js";

const TICK_MS = 250;

/**
 * Write `during` into the element, with the seconds that remain of `ms` as its `n`; then call `over`.
 * Returns a function that ends it, and leaves the text as it is.
 */
export function countDown(element, ms, during, over) {
  const end = performance.now() + ms;
  let timer = 0;
  const tick = () => {
    const left = end - performance.now();
    if (left > 0) {
      write(element, during, { n: seconds(left) });
    } else {
      clearInterval(timer);
      over();
    }
  };
  timer = setInterval(tick, TICK_MS);
  tick();
  return () => clearInterval(timer);
}

/**
 * A message is pulled aside with a finger, towards the reading direction's end, to answer it.
 */

// How far it has to be pulled, and how far it can be, in pixels.
const ENOUGH = 56;
const MOST = 80;
// Shorter moves may be a scroll or a swipe, in pixels.
const UNCLEAR = 10;

/** `swiped(element)` is called when something that matches `selector` inside `area` has been pulled far enough. */
export function onSwipe(area, selector, swiped) {
  let pull = null; // {element, id, x, y, by, sure}

  const end = () => {
    if (!pull) return;
    pull.element.classList.remove("pulled", "enough");
    pull.element.style.removeProperty("--pull");
    pull = null;
  };

  area.addEventListener("pointerdown", (event) => {
    const element = event.target.closest(selector);
    if (event.pointerType !== "touch" || !event.isPrimary || !element) return;
    pull = { element, id: event.pointerId, x: event.clientX, y: event.clientY, by: 0, sure: false };
  });
  area.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pull?.id) return;
    const forward = getComputedStyle(pull.element).direction === "rtl" ? -1 : 1;
    const by = (event.clientX - pull.x) * forward;
    if (!pull.sure) {
      if (Math.hypot(event.clientX - pull.x, event.clientY - pull.y) < UNCLEAR) return;
      if (by < Math.abs(event.clientY - pull.y)) {
        end(); // scrolled, or pulled the other way
        return;
      }
      pull.sure = true;
      pull.element.classList.add("pulled");
    }
    pull.by = Math.max(0, Math.min(MOST, by));
    pull.element.style.setProperty("--pull", `${pull.by * forward}px`);
    pull.element.classList.toggle("enough", pull.by >= ENOUGH);
  });
  area.addEventListener("pointerup", (event) => {
    if (event.pointerId !== pull?.id) return;
    const { element, by } = pull;
    end();
    if (by >= ENOUGH) swiped(element);
  });
  area.addEventListener("pointercancel", end);
}

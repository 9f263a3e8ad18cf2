/**
 * Keeps the page inside what can be seen when a phone's keyboard opens.
 *
 * Android shrinks the page (the viewport's `interactive-widget`); iOS lays the keyboard over it and scrolls the page away,
 * and tells only `visualViewport`. The style sheet takes height and offset from the two custom properties set here.
 */
export function followVisibleArea() {
  const area = window.visualViewport;
  if (!area) return;

  const follow = () => {
    if (area.scale !== 1) return; // zoomed in with two fingers: the page stays as it is, and is panned
    const { style } = document.documentElement;
    style.setProperty("--visible-height", `${area.height}px`);
    style.setProperty("--visible-top", `${area.offsetTop}px`);
  };
  area.addEventListener("resize", follow);
  area.addEventListener("scroll", follow);
  follow();
}

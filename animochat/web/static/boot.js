/**
 * Runs before the page is painted, as a plain script that old browsers read too: the chosen look, and a word where the
 * page's modules can't run. Until they do, Start looks disabled, and a press of it is remembered (main.js).
 */
(() => {
  const TEXT_SIZES = { large: "125%", larger: "150%" };
  const files = document.currentScript.src.replace(/[^/]*$/, "");
  const $ = (id) => document.getElementById(id);

  // Oldest versions: Chromium 119, Firefox 128, Safari 16.4 (docs/page.md). What is named here came last to one of them.
  const modern = () =>
    "noModule" in HTMLScriptElement.prototype &&
    typeof HTMLDialogElement === "function" &&
    typeof HTMLFormElement.prototype.requestSubmit === "function" &&
    typeof AbortSignal === "function" &&
    typeof AbortSignal.timeout === "function" &&
    typeof Array.prototype.findLast === "function" &&
    "ariaLabel" in Element.prototype &&
    CSS.supports("container-type", "inline-size");

  const recall = (name) => {
    try {
      return JSON.parse(localStorage.getItem(`animochat.${name}`));
    } catch (_) {
      return null; // storage is forbidden
    }
  };

  const look = () => {
    const theme = recall("theme");
    for (const it of document.querySelectorAll("[data-scheme]")) {
      const { scheme } = it.dataset;
      const chosen = theme === scheme ? "all" : "not all";
      const media = theme === "light" || theme === "dark" ? chosen : `(prefers-color-scheme: ${scheme})`;
      it.setAttribute("media", media);
    }
    document.documentElement.style.fontSize = TEXT_SIZES[recall("textSize")] || "";
  };

  /** Say that the page can't run, with the texts that the document has for it. */
  const fail = (old) => {
    $("start").hidden = true;
    $("closed").hidden = false;
    document.body.dataset.screen = "closed";
    if (!old) return;
    for (const it of [$("closed-title"), $("closed-text")]) it.textContent = it.dataset.old;
    $("reload").hidden = true;
  };

  const waits = () => $("start-button").getAttribute("aria-disabled") === "true";

  look();
  document.addEventListener("look", look); // settings.js has changed something
  window.addEventListener("storage", look); // another tab has
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === $("reload")) location.reload();
    if (button !== $("start-button") || !waits()) return;
    button.dataset.pressed = "";
    $("start-loading").hidden = false;
  });
  window.addEventListener("error", (event) => {
    if (waits() && String(event.filename).startsWith(files)) fail(false); // a file that arrived in part
  });
  document.addEventListener("DOMContentLoaded", () => {
    if (!modern()) {
      fail(true);
      return;
    }
    const main = document.createElement("script");
    main.type = "module";
    main.src = `${files}main.js`;
    main.addEventListener("error", () => fail(false)); // it, or something that it imports, did not arrive
    document.head.append(main);
  });
})();

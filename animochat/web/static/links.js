/**
 * Addresses in messages become links that show their target before they open it.
 *
 * Only http and https, only what the browser itself understands as an address, and none that carries a user name, which
 * is there to make "https://bank.example@evil.example" look like a bank.
 */
import { ask } from "./dialogs.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"]+/giu;
// Characters that end the sentence around an address, not the address.
const TRAILING = /[.,;:!?…'’”»*_~]$/u;
const BRACKETS = { ")": "(", "]": "[", "}": "{" };

/** Append a person's message as text and links, never as markup. */
export function appendText(element, text) {
  let done = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = withoutTrailing(found);
    const href = safe(address);
    if (!href) continue;
    element.append(text.slice(done, index), link(address, href));
    done = index + address.length;
  }
  element.append(text.slice(done));
}

/** Links inside `element` are opened only after a warning, whichever button or key was used. */
export function warnOfLinks(element) {
  const warn = async (event) => {
    const link = event.target.closest("a.link");
    if (!link || event.button > 1) return;
    event.preventDefault();
    const open = document.getElementById("link-open");
    open.href = link.href;
    document.getElementById("link-host").textContent = new URL(link.href).host;
    document.getElementById("link-address").textContent = link.href;
    await ask("link-dialog");
    open.removeAttribute("href");
  };
  element.addEventListener("click", warn);
  element.addEventListener("auxclick", warn);
}

function withoutTrailing(address) {
  for (;;) {
    const last = address.at(-1);
    const opening = BRACKETS[last];
    const unbalanced = opening && address.split(last).length > address.split(opening).length;
    if (!unbalanced && !TRAILING.test(address)) return address;
    address = address.slice(0, -1);
  }
}

function safe(address) {
  let url;
  try {
    url = new URL(address); // not `URL.canParse`, which Safari has since 17
  } catch {
    return null;
  }
  const plain = !url.username && !url.password;
  return plain && (url.protocol === "http:" || url.protocol === "https:") ? url.href : null;
}

function link(address, href) {
  const anchor = document.createElement("a");
  anchor.className = "link";
  anchor.href = href;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer nofollow ugc";
  anchor.textContent = address;
  return anchor;
}

/**
 * The page's texts: one file for each language (lang/*.json), looked up by key.
 *
 * The server writes the document in the language that the browser asks for; `speak` changes it later, without a reload.
 * It then rewrites every text from `write`, and every element with `data-say`.
 */

// For how long a wait is counted in seconds, in milliseconds.
export const COUNTED_MS = 60_000;

const COOKIE_S = 365 * 24 * 3600;

const params = new WeakMap(); // element → what its text was filled in with
const labelParams = new WeakMap(); // the same, of its label
const listeners = [];
let texts = {};
let number = new Intl.NumberFormat();
let plural = new Intl.PluralRules();

/** The locale for times and numbers: the browser's own, as far as it is of the language spoken here. */
export let locale = navigator.language;

/** The text of `key`. `n` in it is written as a number, and chooses singular or plural. */
export function say(key, { n, ...others } = {}) {
  let text = texts[key] ?? key;
  if (typeof text === "object") text = text[plural.select(n)] ?? text.other;
  const values = n === undefined ? others : { n: number.format(n), ...others };
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Put the text of `key` into an element, unless it is there already, so that screen readers stay quiet. */
export function write(element, key, values = {}) {
  element.dataset.say = key;
  params.set(element, values);
  const text = say(key, values);
  if (element.textContent !== text) element.textContent = text;
}

/** Put the text of `key` into an element's label, which is for screen readers. */
export function label(element, key, values = {}) {
  element.dataset.sayLabel = key;
  labelParams.set(element, values);
  element.ariaLabel = say(key, values);
}

/** Seconds to wait, as a person counts them. */
export const seconds = (ms) => Math.max(1, Math.ceil(ms / 1000));

/** The page's text for an error of the protocol: `[key, values]`. */
export function explain(error, maxMessageLength) {
  if (error.code === "rate-limited" && error.retryAfterMs) {
    if (error.retryAfterMs > COUNTED_MS) {
      return ["error.rate-limited.later", { n: Math.ceil(error.retryAfterMs / 60_000) }];
    }
    return ["error.rate-limited.in", { n: seconds(error.retryAfterMs) }]; // to be counted down
  }
  const key = `error.${error.code}`;
  return key in texts ? [key, { n: maxMessageLength }] : ["error.other"];
}

/** `listener()` is called after the language has changed. */
export function onLanguage(listener) {
  listeners.push(listener);
}

/** Change the language, for this visit and the next ones. Rejects when its file can't be loaded: nothing changes. */
export async function speak(language) {
  await load(language);
  const { pathname } = new URL(".", document.baseURI); // this page's address, in any lobby
  document.cookie = `language=${language}; path=${pathname}; max-age=${COOKIE_S}; samesite=lax`;
  document.documentElement.lang = language;
  document.documentElement.dir = texts.dir;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = say(element.dataset.say, params.get(element));
  }
  for (const element of document.querySelectorAll("[data-say-label]")) {
    element.ariaLabel = say(element.dataset.sayLabel, labelParams.get(element));
  }
  for (const element of document.querySelectorAll("[data-say-placeholder]")) {
    element.placeholder = say(element.dataset.sayPlaceholder);
  }
  for (const listener of listeners) listener();
}

async function load(language) {
  const response = await fetch(new URL(`lang/${language}.json`, import.meta.url));
  if (!response.ok) throw new Error(`No texts for ${language}`);
  texts = await response.json();
  locale = navigator.language.split("-")[0] === language ? navigator.language : language;
  number = new Intl.NumberFormat(locale);
  plural = new Intl.PluralRules(locale);
}

// The page waits for its texts; the document's head has already requested the file.
try {
  await load(document.documentElement.lang);
} catch (error) {
  // The document itself has the texts then.
  document.getElementById("start").hidden = true;
  document.getElementById("closed").hidden = false;
  throw error;
}

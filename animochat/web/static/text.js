/**
 * The visible content of a person's text.
 */

// Unicode's ignorable characters, white space and controls; then those that are blank without being called so.
const BLANK = /^[\s\p{DI}\p{Cc}\u2800\ufff9-\ufffc\u{13430}-\u{1343f}\u{16fe4}\u{1d159}]*$/u;

/** Return whether nothing in `text` can be seen. The server (protocol/visible.py) answers the same. */
export const isBlank = (text) => BLANK.test(text);

const LINE_END = /\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/u;
// Characters that act on a reader instead of being read: controls except the tab, and direction overrides.
const ACTING = /(?!\t)\p{Cc}|[\u202a-\u202e\u2066-\u206f]/gu;

/** The lines of `text`, with any line ending, each with only its readable characters. */
export const readable = (text) => text.split(LINE_END).map((line) => line.replaceAll(ACTING, ""));

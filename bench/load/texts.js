/** The clients' messages. */

"use strict";

/** Scripts of one, two, three and four bytes per character, mixed as people do. */
const NON_LATIN = "こんにちは、元気ですか？ Привет, как дела? नमस्ते 안녕하세요 你好，很高兴认识你 שלום 😀 ";

/** Return `length` code points of `sample`, repeated, without a space at either end (servers trim). */
function repeated(sample, length) {
  const points = Array.from(sample.repeat(Math.ceil(length / Array.from(sample).length))).slice(0, length);
  points[length - 1] = points[0];
  return points.join("");
}

const TEXTS = Object.freeze({
  "ascii-40": repeated("The quick brown fox jumps over a lazy dog ", 40),
  "ascii-2000": repeated("The quick brown fox jumps over a lazy dog. ", 2000),
  "non-latin-40": repeated(NON_LATIN, 40),
  "non-latin-2000": repeated(NON_LATIN, 2000),
});

module.exports = { TEXTS };

/* md5(text): the MD5 (RFC 1321) of the text in UTF-8, as lower-case hex. For pages that make their own signatures. */
var md5 = (function () {
  'use strict';
  var SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21], SINES = [], i;
  for (i = 0; i < 64; i++) SINES[i] = Math.floor(Math.abs(Math.sin(i + 1)) * 0x100000000) | 0;

  /** UTF-8 as one character for each byte. A lone surrogate becomes U+FFFD, as with TextEncoder. */
  function utf8(text) {
    text = text.replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, function (c) { return c.length > 1 ? c : '\ufffd'; });
    return unescape(encodeURIComponent(text));
  }

  /** The padded message as little-endian words: its bytes, a 1 bit, zeros, and at the end of a block its length in bits. */
  function padded(bytes) {
    var length = bytes.length, end = ((length + 8 >> 6) + 1) * 16, words = [], i;
    for (i = 0; i < end; i++) words[i] = 0;
    for (i = 0; i < length; i++) words[i >> 2] |= bytes.charCodeAt(i) << i % 4 * 8;
    words[length >> 2] |= 0x80 << length % 4 * 8;
    words[end - 2] = length << 3;
    words[end - 1] = length >>> 29;
    return words;
  }

  function hex(word) {
    for (var text = '', i = 0; i < 4; i++) text += (word >>> i * 8 & 255 | 256).toString(16).slice(1);
    return text;
  }

  return function (text) {
    var words = padded(utf8(String(text))), a = 0x67452301, b = ~0x10325476, c = ~a, d = ~b, block, i, mix, at, turn, old;
    for (block = 0; block < words.length; block += 16) {
      old = [a, b, c, d];
      for (i = 0; i < 64; i++) {
        if (i < 16) { mix = b & c | ~b & d; at = i; }
        else if (i < 32) { mix = d & b | ~d & c; at = 5 * i + 1; }
        else if (i < 48) { mix = b ^ c ^ d; at = 3 * i + 5; }
        else { mix = c ^ (b | ~d); at = 7 * i; }
        mix = mix + a + SINES[i] + words[block + at % 16] | 0;
        turn = SHIFTS[(i >> 4) * 4 + i % 4];
        a = d;
        d = c;
        c = b;
        b = b + (mix << turn | mix >>> 32 - turn) | 0;
      }
      a = a + old[0] | 0;
      b = b + old[1] | 0;
      c = c + old[2] | 0;
      d = d + old[3] | 0;
    }
    return hex(a) + hex(b) + hex(c) + hex(d);
  };
}());
if (typeof module === 'object' && module && module.exports) module.exports = md5;

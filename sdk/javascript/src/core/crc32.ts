/** CRC-32 as in zlib (IEEE, reflected polynomial 0xEDB88320), over bytes or over the UTF-8 of a text. */

const TABLE = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  TABLE[n] = value;
}

/** Shorter texts are mostly ASCII, which needs no encoder. */
const SHORT = 64;
const ENCODER = new TextEncoder();

export function crc32(input: string | Uint8Array): number {
  if (typeof input === "string" && input.length < SHORT) {
    let value = 0xffffffff;
    let at = 0;
    for (; at < input.length; at++) {
      const unit = input.charCodeAt(at);
      if (unit > 0x7f) break;
      value = (value >>> 8) ^ TABLE[(value ^ unit) & 0xff]!;
    }
    if (at === input.length) return (value ^ 0xffffffff) >>> 0;
  }
  const bytes = typeof input === "string" ? ENCODER.encode(input) : input;
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) value = (value >>> 8) ^ TABLE[(value ^ bytes[at]!) & 0xff]!;
  return (value ^ 0xffffffff) >>> 0;
}

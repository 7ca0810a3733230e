/** CRC-32 as in zlib (IEEE, reflected polynomial 0xEDB88320), over bytes or over the UTF-8 of a text. */

const TABLE = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  TABLE[n] = value;
}

const ENCODER = new TextEncoder();

export function crc32(input: string | Uint8Array): number {
  const bytes = typeof input === "string" ? ENCODER.encode(input) : input;
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) value = (value >>> 8) ^ TABLE[(value ^ bytes[at]!) & 0xff]!;
  return (value ^ 0xffffffff) >>> 0;
}

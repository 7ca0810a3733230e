/** SHA-256 (FIPS 180-4) of a text's UTF-8, in hex. Synchronous, and present in pages without HTTPS, where `crypto.subtle` is missing. */

/** The first 32 bits of the fractional part of `root(2)` … of the first primes. */
function fractions(count: number, power: number): Uint32Array {
  const words: number[] = [];
  for (let n = 2; words.length < count; n++) {
    let isPrime = true;
    for (let by = 2; by * by <= n; by++) if (n % by === 0) isPrime = false;
    if (isPrime) words.push(((n ** power) % 1) * 2 ** 32);
  }
  return Uint32Array.from(words);
}

const rotate = (word: number, by: number) => (word >>> by) | (word << (32 - by));

export function sha256(text: string): string {
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(((bytes.length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, bytes.length << 3);
  const K = fractions(64, 1 / 3);
  const hash = fractions(8, 1 / 2);
  const w = new Uint32Array(64);
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d, e, f, g, h] = hash as unknown as [number, number, number, number, number, number, number, number];
    for (let n = 0; n < 64; n++) {
      if (n < 16) w[n] = view.getUint32(block + 4 * n);
      else {
        const [x, y] = [w[n - 15]!, w[n - 2]!];
        w[n] = w[n - 16]! + (rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3)) + w[n - 7]! + (rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10));
      }
      const t = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[n]! + w[n]!;
      const u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t) | 0, c, b, a, (t + u) | 0];
    }
    for (const [n, word] of [a, b, c, d, e, f, g, h].entries()) hash[n]! += word;
  }
  return Array.from(hash, (word) => word.toString(16).padStart(8, "0")).join("");
}

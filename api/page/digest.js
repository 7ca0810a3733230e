// The digest of all flags, as the server computes it (docs/reference/protocol.md, "Digest"): equal digests mean equal flags.

const BOOKKEEPING = new Set(["snapshotID", "updatedAt", "updatedBy", "schema"]);

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

const UTF8 = new TextEncoder();

// The checksum of each flag object. A changed flag is a new object.
const known = new WeakMap();

/** `<count>:<hex8>` of flags. */
export function digestOf(flags) {
  let count = 0;
  let sum = 0;
  for (const flag of flags) {
    let crc = known.get(flag);
    if (crc === undefined) known.set(flag, (crc = crc32(UTF8.encode(canonical(flag, BOOKKEEPING)))));
    count++;
    sum = (sum + crc) >>> 0;
  }
  return `${count}:${sum.toString(16).padStart(8, "0")}`;
}

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function canonical(value, without = null) {
  if (Array.isArray(value)) return `[${value.map((each) => canonical(each)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const names = Object.keys(value).filter((name) => !without?.has(name)).sort(byCodePoint);
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}

function byCodePoint(a, b) {
  const [left, right] = [[...a], [...b]];
  for (let place = 0; place < left.length && place < right.length; place++) {
    const between = left[place].codePointAt(0) - right[place].codePointAt(0);
    if (between) return between;
  }
  return left.length - right.length;
}

/** Numbers as Java's `Double.parseDouble` parses them, which Flagent's comparisons use. */

// Characters up to U+0020 are trimmed at both ends, as Java's String.trim does.
const DECIMAL = /^[\u0000-\u0020]*([+-]?)(?:(NaN)|(Infinity)|((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?)[\u0000-\u0020]*$/;
const HEXADECIMAL = /^[\u0000-\u0020]*([+-]?)0[xX](?:([0-9a-fA-F]+)\.?|([0-9a-fA-F]*)\.([0-9a-fA-F]+))[pP]([+-]?[0-9]+)[fFdD]?[\u0000-\u0020]*$/;

/** The number, or null if Java rejects the text. */
export function parseDouble(text: string): number | null {
  const decimal = DECIMAL.exec(text);
  if (decimal !== null) {
    const size = decimal[2] !== undefined ? NaN : decimal[3] !== undefined ? Infinity : Number(decimal[4]);
    return decimal[1] === "-" ? -size : size;
  }
  const hexadecimal = HEXADECIMAL.exec(text);
  if (hexadecimal === null) return null;
  const whole = hexadecimal[2] ?? hexadecimal[3] ?? "";
  const fraction = hexadecimal[4] ?? "";
  const size = scale(BigInt(`0x0${whole}${fraction}`), Number(hexadecimal[5]) - 4 * fraction.length);
  return hexadecimal[1] === "-" ? -size : size;
}

/** `mantissa × 2^exponent`, rounded once, half to even, also for subnormal results. */
function scale(mantissa: bigint, exponent: number): number {
  if (mantissa === 0n) return 0;
  const bits = mantissa.toString(2).length;
  const top = bits - 1 + exponent;
  if (top > 1023) return Infinity;
  if (top < -1076) return 0;
  const precision = top >= -1022 ? 53 : 53 - (-1022 - top);
  let kept = mantissa;
  let shift = exponent;
  const excess = bits - precision;
  if (excess > 0) {
    const unit = 1n << BigInt(excess);
    const rest = mantissa & (unit - 1n);
    kept = mantissa >> BigInt(excess);
    if (rest * 2n > unit || (rest * 2n === unit && (kept & 1n) === 1n)) kept += 1n;
    shift += excess;
  }
  // `kept` has at most 54 bits and is exact; multiplying in two steps keeps each factor a normal number.
  const half = Math.trunc(shift / 2);
  return Number(kept) * 2 ** half * 2 ** (shift - half);
}

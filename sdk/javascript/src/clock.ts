/** Time, timers and randomness of a client; tests pass a clock that they advance themselves. */
export interface Clock {
  /** Monotonic, in milliseconds. */
  now(): number;
  /** A number in [0, 1). */
  random(): number;
  setTimer(action: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
}

/** A longer delay overflows in every JavaScript engine, and the timer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  setTimer: (action, delayMs) => setTimeout(action, Math.min(delayMs, MAX_TIMER_MS)),
  clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

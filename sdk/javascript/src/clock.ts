/** The clock as the clients see it, so that a test can turn it by hand. */
export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** A number in [0, 1). */
  random(): number;
  setTimer(action: () => void, delayMs: number): unknown;
  clearTimer(timer: unknown): void;
}

/** Timers beyond this overflow to "at once" in every JavaScript engine. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  setTimer: (action, delayMs) => setTimeout(action, Math.min(delayMs, MAX_TIMER_MS)),
  clearTimer: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** Promises that wait for a state. */
import { asError } from "./errors.js";

export class Waiters {
  readonly #checks = new Set<() => void>();

  /** The state may have changed. */
  notify(): void {
    for (const check of this.#checks) check();
  }

  /** Resolves when `isReached` does; what it raises rejects, and after `timeoutMs` what `late` makes. */
  wait(timeoutMs: number, isReached: () => boolean, late: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const end = (error?: Error) => {
        this.#checks.delete(check);
        clearTimeout(timer);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = () => {
        try {
          if (isReached()) end();
        } catch (error) {
          end(asError(error));
        }
      };
      this.#checks.add(check);
      timer = setTimeout(() => end(late()), timeoutMs);
      check();
    });
  }
}

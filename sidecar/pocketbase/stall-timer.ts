/** Fires when one wait lasts longer than `ms`. A single timer for the whole transfer, however many waits it has. */
export class StallTimer {
  readonly #timer: NodeJS.Timeout;
  #isWaiting = false;

  constructor(ms: number, fire: () => void) {
    this.#timer = setTimeout(() => {
      if (this.#isWaiting) fire();
    }, ms);
  }

  begin(): void {
    this.#isWaiting = true;
    this.#timer.refresh();
  }

  end(): void {
    this.#isWaiting = false;
  }

  stop(): void {
    this.#isWaiting = false;
    clearTimeout(this.#timer);
  }
}

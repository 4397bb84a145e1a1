/** More logouts than these within one SESSION_MAX_HOURS, and the oldest are forgotten. */
const MOST = 10_000;

/**
 * Ids of sessions that were logged out before they ran out, so that a copy of the cookie is worth nothing. Of this process alone: another
 * replica, and this one after a restart, know nothing of it.
 */
export class EndedSessions {
  /** To Unix milliseconds, in the order of the logouts. */
  readonly #until = new Map<string, number>();
  readonly #most: number;

  constructor(most = MOST) {
    this.#most = most;
  }

  /** `until`: when the session would have ended in any case. */
  add(id: string, until: number, now: number): void {
    for (const [each, end] of this.#until) if (end <= now) this.#until.delete(each);
    if (this.#until.size >= this.#most) this.#until.delete(this.#until.keys().next().value!);
    this.#until.set(id, until);
  }

  has(id: string): boolean {
    return this.#until.has(id);
  }
}

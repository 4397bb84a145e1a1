/** Whether the hooks enforce the gate, as events for webhooks: told once for each change. */
import type { StoreHealth } from '../../pocketbase/health.ts';
import type { WebhookEvent } from './event.ts';

type Gate = StoreHealth['gate'];

export interface GateWatchParts {
  /** What the hooks said last; null while they do not answer, which says nothing of the gate. */
  gate(): Gate | null;
  /** What receivers were told last; asked once, at the start. */
  told(signal: AbortSignal): Promise<Gate>;
  announce(event: WebhookEvent, signal: AbortSignal): Promise<void>;
  /** Unix milliseconds. */
  now(): number;
}

export class GateWatch {
  readonly #parts: GateWatchParts;
  #told: Gate | null = null;
  #change: { readonly gate: Gate; readonly at: number } | null = null;

  constructor(parts: GateWatchParts) {
    this.#parts = parts;
  }

  /** Looks once; what could not be told is told the next time, under the same id. */
  async look(signal: AbortSignal): Promise<void> {
    const { told, announce, now } = this.#parts;
    const gate = this.#parts.gate();
    if (gate === null) return;
    this.#told ??= await told(signal);
    if (gate === this.#told) {
      this.#change = null;
      return;
    }
    if (this.#change?.gate !== gate) this.#change = { gate, at: now() };
    const { at } = this.#change;
    const type = gate === 'enforce' ? 'gate.enforced' : 'gate.open';
    await announce({ id: `${type.replace('.', '-')}-${at}`, type, timestamp: new Date(at).toISOString(), data: { gate } }, signal);
    this.#told = gate;
  }
}

/** One engine for all sidecars, which dies of some files and is started again. */
import { ScanError } from '../../../sidecar/scan/errors.ts';
import { fakeEngine } from '../../../sidecar/scan/fakes.ts';
import type { Answer } from '../../../sidecar/scan/model.ts';
import type { Scanned } from '../../../sidecar/scan/ports.ts';
import type { ProcessClock, SimulatedTime } from './clock.ts';
import type { SimulatedFile } from './pocketbase.ts';

const engine = { ...fakeEngine, name: 'simulated' };
const RESTART_MS = 3_000;
const HANG_MS = 20_000;

export class SimulatedEngine {
  readonly #time: SimulatedTime;
  readonly #waiting = new Set<() => void>();
  readonly #looking = new Set<(why: ScanError) => void>();
  #downUntil = 0;

  constructor(time: SimulatedTime) {
    this.#time = time;
  }

  get #isUp(): boolean {
    return this.#time.now() >= this.#downUntil;
  }

  /** Ends everything that it looks at, and is away for so long. */
  die(downMs = RESTART_MS): void {
    this.#downUntil = Math.max(this.#downUntil, this.#time.now() + downMs);
    for (const fail of [...this.#looking]) fail(new ScanError('engine-reply', 'the engine died'));
    this.#time.at(this.#downUntil, () => {
      if (this.#isUp) for (const tell of [...this.#waiting]) tell();
    });
  }

  /** Answers nonsense to everything it looks at, and goes on. */
  babble(): void {
    for (const fail of [...this.#looking]) fail(new ScanError('engine-reply', 'the engine answered nonsense'));
  }

  ready(process: ProcessClock, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#isUp) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const tell = () => process.wake(resolve);
      this.#waiting.add(tell);
      signal.addEventListener(
        'abort',
        () => {
          this.#waiting.delete(tell);
          reject(signal.reason);
        },
        { once: true },
      );
    });
  }

  look(file: SimulatedFile, process: ProcessClock, signal: AbortSignal): Promise<Scanned> {
    if (!this.#isUp) return Promise.reject(new ScanError('engine-unavailable', 'the engine is away'));
    return new Promise((resolve, reject) => {
      const fail = (why: ScanError) => {
        this.#looking.delete(fail);
        process.wake(() => reject(why));
      };
      this.#looking.add(fail);
      signal.addEventListener('abort', () => fail(signal.reason), { once: true });
      this.#time.at(this.#time.now() + (file.nature === 'hangs engine' ? HANG_MS : file.ms), () => {
        if (!this.#looking.has(fail)) return;
        if (file.nature === 'kills engine') return this.die();
        if (file.nature === 'hangs engine') return fail(new ScanError('engine-reply', 'no reply in time'));
        this.#looking.delete(fail);
        process.wake(() => resolve({ answer: answerOf(file), engine, sent: 0 }));
      });
    });
  }
}

function answerOf({ nature }: SimulatedFile): Answer {
  if (nature === 'infected') return { kind: 'infected', signature: 'Simulated.Virus' };
  return nature === 'unscannable' ? { kind: 'unscannable', reason: 'unscannable:encrypted' } : { kind: 'clean' };
}

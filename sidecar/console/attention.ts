/** What wants somebody's attention, by what the console knows. Pure. */
import type { StoreHealth } from '../pocketbase/health.ts';
import type { Attention } from './console-env.ts';
import { counted, duration } from './format.ts';
import type { EngineFact, ScannerFacts } from './scanner-facts.ts';
import { isUnscannable } from './words.ts';

export interface Facts {
  readonly store: {
    readonly health: StoreHealth | null /** Null while PocketBase and its hooks are as they should be. */;
    readonly why: string | null;
  };
  readonly scanner: ScannerFacts;
  /** Builds found infected in the last day; null where nobody could be asked. */
  readonly infectedLately: number | null;
  /** Of the other parts of the console. */
  readonly others: readonly Attention[];
}

export interface AttentionRules {
  readonly maxSignatureAgeMs: number;
  readonly now: number;
}

const OLD_QUEUE_SECONDS = 5 * 60;
/** Warned while the signatures still count. */
const OLD_AFTER = 0.75;

/** The heaviest first. */
export function attentionOf(facts: Facts, rules: AttentionRules): readonly Attention[] {
  const all = [...ofStore(facts), ...ofScanner(facts.scanner, rules), ...facts.others];
  return all.toSorted((a, b) => b.weight - a.weight);
}

/** How many checks ended as a fault, as opposed to an honest 'cannot judge'. */
export function failedOf({ reasons }: Pick<StoreHealth, 'reasons'>): number {
  return Object.entries(reasons).reduce((sum, [reason, each]) => sum + (isUnscannable(reason) ? 0 : each), 0);
}

function ofStore({ store: { health, why }, infectedLately }: Facts): Attention[] {
  const found: Attention[] = [];
  const add = (weight: number, tone: Attention['tone'], what: string, next: string, href: string | null = null) =>
    found.push({ weight, tone, what, next, href });
  if (why !== null) add(96, 'bad', `PocketBase cannot be used: ${why}.`, 'No build is scanned meanwhile; what waits keeps waiting.');
  if (health === null) return found;
  if (health.gate !== 'enforce') {
    add(
      98,
      'bad',
      `The gate does not enforce (AV_GATE=${health.gate}).`,
      'Builds can be downloaded before they are judged. Set AV_GATE=enforce in PocketBase and restart it.',
    );
  }
  for (const problem of health.problems.filter((each) => !each.startsWith('AV_GATE='))) add(62, 'warn', problem, '');
  const { oldestPendingSeconds } = health;
  if (oldestPendingSeconds > OLD_QUEUE_SECONDS) {
    add(
      80,
      'bad',
      `A build has waited for ${duration(oldestPendingSeconds * 1000)}.`,
      'Look whether the scanner and its engines run.',
      '/checks?state=waiting',
    );
  }
  if (infectedLately !== null && infectedLately > 0) {
    const isKept = health.gate === 'enforce';
    const infectedNext = `${isKept ? 'They stay closed unless somebody releases them.' : 'The gate lets them through.'} Tell whoever uploaded them.`;
    add(66, 'bad', `${counted(infectedLately, 'build')} found infected in the last 24 hours.`, infectedNext, '/checks?state=infected');
  }
  const failed = failedOf(health);
  if (failed > 0)
    add(56, 'warn', `${counted(failed, 'check')} failed.`, 'Each says why. Put the cause right, then scan again.', '/checks?state=failed');
  return found;
}

function ofScanner(scanner: ScannerFacts, rules: AttentionRules): Attention[] {
  switch (scanner.kind) {
    case 'none':
      return [];
    case 'silent':
      return [{ weight: 85, tone: 'bad', what: scanner.why, next: 'Uploads wait behind the gate until it does.', href: null }];
    case 'speaks':
      return ofEngines(scanner.engines, rules);
    default:
      return scanner satisfies never;
  }
}

function ofEngines(engines: readonly EngineFact[], { maxSignatureAgeMs, now }: AttentionRules): Attention[] {
  const found: Attention[] = [];
  if (engines.some(({ ready, signatures }) => ready && signatures === 'test')) {
    const next = 'No verdict below protects anyone. Let freshclam fetch the official set and unset ALLOW_TEST_SIGNATURES.';
    found.push({ weight: 100, tone: 'bad', what: 'Signatures are the TEST set.', next, href: null });
  }
  const down = engines.filter(({ ready }) => !ready);
  if (engines.length === 0) {
    found.push({
      weight: 84,
      tone: 'bad',
      what: 'The scanner knows no engine.',
      next: 'Look at CLAMD_ADDRESSES and at its log.',
      href: null,
    });
  } else if (down.length === engines.length) {
    found.push({
      weight: 84,
      tone: 'bad',
      what: 'No engine is ready, so nothing is scanned.',
      next: down.map(whyDown).join(' '),
      href: null,
    });
  } else {
    for (const engine of down)
      found.push({
        weight: 64,
        tone: 'warn',
        what: `Engine ${engine.name} is not ready: ${engine.why ?? 'it does not say why'}.`,
        next: 'The others do its work meanwhile.',
        href: null,
      });
  }
  for (const { name, ready, signaturesAt } of engines) {
    const age = signaturesAt === null ? 0 : now - Date.parse(signaturesAt);
    if (!ready || !(age > maxSignatureAgeMs * OLD_AFTER)) continue;
    const next = `After ${duration(maxSignatureAgeMs)} it is not used any more. Look at freshclam.`;
    found.push({ weight: 70, tone: 'warn', what: `The signatures of engine ${name} are ${duration(age)} old.`, next, href: null });
  }
  return found;
}

function whyDown({ name, why }: EngineFact): string {
  return `${name}: ${why ?? 'it does not say why'}.`;
}

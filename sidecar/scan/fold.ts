/** Many files, one outcome: infected > give back > unscannable > clean. */
import { ScanError, type ScanErrorCode } from './errors.ts';
import type { Engine, FileVerdict, Verdict } from './model.ts';

/**
 * The failure that speaks for the build: first what will not heal by itself, so that such a check ends,
 * then what is nobody's fault.
 */
const failureOrder: readonly ScanErrorCode[] = [
  'lease-lost',
  'download:missing',
  'unexpected',
  'engine-reply',
  'download',
  'engine-busy',
  'engine-unavailable',
  'interrupted',
  'store-unavailable',
];

/** `fallback` names the engine of a build none of whose files was small enough to be asked about. Throws the failure that decides. */
export function fold(results: readonly (FileVerdict | ScanError)[], fallback: Engine | null): Verdict {
  const judged: FileVerdict[] = [];
  const failures: ScanError[] = [];
  for (const result of results) {
    if (result instanceof ScanError) failures.push(result);
    else judged.push(result);
  }
  const lost = failures.find((failure) => failure.code === 'lease-lost');
  if (lost !== undefined) throw lost;
  const infected = judged.some(({ answer }) => answer.kind === 'infected');
  if (!infected && failures.length > 0) throw firstOf(failures);
  if (judged.length === 0) throw new ScanError('unexpected', 'the check lists no files, so nothing can be judged');

  const engine = oldest([...judged.map((each) => each.engine), fallback]);
  if (engine === null) throw new ScanError('unexpected', 'no engine took part, so nothing can be judged');
  const unscannable = judged.some(({ answer }) => answer.kind === 'unscannable');
  const kind = infected ? 'infected' : unscannable ? 'unscannable' : 'clean';
  return { kind, files: judged, engine };
}

function firstOf(failures: readonly ScanError[]): ScanError {
  return failures.reduce((a, b) => (failureOrder.indexOf(b.code) < failureOrder.indexOf(a.code) ? b : a));
}

/** The verdict is worth what its weakest engine knew. A test set knows nothing. Of one engine at several times, the last. */
function oldest(engines: readonly (Engine | null)[]): Engine | null {
  const known = (engine: Engine) => (typeof engine.signatures === 'number' ? engine.signatures : -1);
  return engines.reduce((a, b) => {
    if (a === null || b === null) return a ?? b;
    if (known(a) !== known(b)) return known(a) < known(b) ? a : b;
    return a.name === b.name && a.canaryAt < b.canaryAt ? b : a;
  }, null);
}

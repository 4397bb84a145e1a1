/** Many files, one outcome: infected > give back > unscannable > clean. */
import { ScanError, type ScanErrorCode } from './errors.ts';
import type { Engine, FileVerdict, Verdict } from './model.ts';

export interface JudgedFile {
  readonly file: FileVerdict;
  /** null where the file was too large to be asked about. */
  readonly engine: Engine | null;
}

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
  'engine-unavailable',
  'interrupted',
  'store-unavailable',
];

/** `fallback` names the engine of a build none of whose files was small enough to be asked about. Throws the failure that decides. */
export function fold(results: readonly (JudgedFile | ScanError)[], fallback: Engine | null): Verdict {
  const judged: JudgedFile[] = [];
  const failures: ScanError[] = [];
  for (const result of results) {
    if (result instanceof ScanError) failures.push(result);
    else judged.push(result);
  }
  const lost = failures.find((failure) => failure.code === 'lease-lost');
  if (lost !== undefined) throw lost;
  const infected = judged.some(({ file }) => file.answer.kind === 'infected');
  if (!infected && failures.length > 0) throw firstOf(failures);
  if (judged.length === 0) throw new ScanError('unexpected', 'the check lists no files, so nothing can be judged');

  const engine = oldest([...judged.map((each) => each.engine), fallback]);
  if (engine === null) throw new ScanError('unexpected', 'no engine took part, so nothing can be judged');
  const unscannable = judged.some(({ file }) => file.answer.kind === 'unscannable');
  const kind = infected ? 'infected' : unscannable ? 'unscannable' : 'clean';
  return { kind, files: judged.map(({ file }) => file), engine };
}

function firstOf(failures: readonly ScanError[]): ScanError {
  return failures.reduce((a, b) => (failureOrder.indexOf(b.code) < failureOrder.indexOf(a.code) ? b : a));
}

/** The verdict is worth what its weakest engine knew. A test set knows nothing. */
function oldest(engines: readonly (Engine | null)[]): Engine | null {
  const age = (engine: Engine) => (typeof engine.signatures === 'number' ? engine.signatures : -1);
  return engines.reduce((a, b) => (a === null ? b : b !== null && age(b) < age(a) ? b : a), null);
}

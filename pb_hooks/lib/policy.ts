/** ALLOW_UNSCANNABLE: which formats an operator lets through although no engine can look into them. Pure. */
import { isReason, reasons } from './reasons.ts';
import type { Policy } from './rules.ts';
import type { WireFileVerdict } from './wire.ts';

export const POLICY_VARIABLE = 'ALLOW_UNSCANNABLE';
const PREFIX = 'unscannable:';

/** Names that the variable takes: what follows `unscannable:` in a reason. */
export const formats: readonly string[] = Object.keys(reasons)
  .filter((code) => code.startsWith(PREFIX))
  .map((code) => code.slice(PREFIX.length));

/** The formats that a text like `zstd, 7z-method` allows, and the names in it that are none. */
export function readPolicy(written: string): { allowed: ReadonlySet<string>; unknown: readonly string[] } {
  const names = written
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  return { allowed: new Set(names.filter(isFormat)), unknown: names.filter((name) => !isFormat(name)) };
}

/** The format of an unscannable reason; '' for any other. */
export function formatOf(reason: string): string {
  return isReason(reason) && reason.startsWith(PREFIX) ? reason.slice(PREFIX.length) : '';
}

/** The policy as it applies to a build with these verdicts: null unless every file is clean or of an allowed format. */
export function policyFor(files: readonly Pick<WireFileVerdict, 'verdict' | 'reason'>[], allowed: ReadonlySet<string>): Policy | null {
  const used = new Set<string>();
  for (const { verdict, reason } of files) {
    if (verdict === 'clean') continue;
    const format = formatOf(reason ?? '');
    if (verdict !== 'unscannable' || !allowed.has(format)) return null;
    used.add(format);
  }
  if (used.size === 0) return null;
  const names = [...used].sort();
  return { by: `policy:${names.join(',')}`, note: `${POLICY_VARIABLE} lets through what no engine can look into: ${names.join(', ')}.` };
}

/** Whether a release by a policy would be given again today. */
export function stillAllows(releasedBy: string, allowed: ReadonlySet<string>): boolean {
  return releasedBy
    .slice(releasedBy.indexOf(':') + 1)
    .split(',')
    .every((name) => allowed.has(name));
}

/** The line for the environment that lets these formats through. */
export function policyLine(names: Iterable<string>): string {
  return `${POLICY_VARIABLE}=${[...new Set(names)].sort().join(',')}`;
}

/** A sentence for the operator where the variable names what is no format, or null. */
export function policyProblem(written: string): string | null {
  const { unknown } = readPolicy(written);
  if (unknown.length === 0) return null;
  const named = unknown.map((name) => JSON.stringify(name.slice(0, 50))).join(', ');
  return `${POLICY_VARIABLE} names ${named}, which lets nothing through; it takes ${formats.join(', ')}.`;
}

function isFormat(name: string): boolean {
  return formats.includes(name);
}

/** Reading one item of a settle request: what a worker says is checked before any of it is stored. */
import { type GiveBackCode, giveBackCodes, isReason, type UnscannableReason } from './reasons.ts';
import { momentOf, text } from './text.ts';
import type { EngineInfo, EngineLimits, SettleItem, SettleResult, WireFileVerdict } from './wire.ts';

type Raw = { [name: string]: unknown };
const MAX_FILES = 2000;

/** The item, or the refusal that answers it. */
export function readSettleItem(raw: Raw): SettleItem | SettleResult {
  const id = text(raw['id'], 50);
  const lease = text(raw['lease'], 100);
  const log = text(raw['log'], 20_000);
  try {
    if (raw['giveBack'] !== undefined)
      return { id, lease, log, giveBack: oneOf(giveBackCodes, raw['giveBack'], 'giveBack') as GiveBackCode };
    const verdict = oneOf(['clean', 'infected', 'unscannable'] as const, raw['verdict'], 'verdict');
    const files = list(raw['files']).map(readFile);
    const item = { id, lease, log, verdict, files, engine: readEngine(raw['engine']) };
    switch (verdict) {
      case 'clean':
        if (files.some((file) => file.verdict !== 'clean')) throw new Error('a file of a clean build is not clean');
        return item;
      case 'infected':
        if (!files.some((file) => file.verdict === 'infected')) throw new Error('no file of an infected build is infected');
        return { ...item, virusName: nonEmpty(raw['virusName'], 'virusName') };
      case 'unscannable':
        return { ...item, reason: mainReason(raw['reason'], files) };
      default:
        return verdict satisfies never;
    }
  } catch (error) {
    return { id, ok: false, code: 'invalid', message: error instanceof Error ? error.message : String(error) };
  }
}

function readFile(raw: Raw): WireFileVerdict {
  const verdict = oneOf(['clean', 'infected', 'unscannable'] as const, raw['verdict'], 'verdict of a file');
  const file: WireFileVerdict = {
    name: text(raw['name'], 500),
    size: number(raw['size'], 'size'),
    sha256: text(raw['sha256'], 64),
    verdict,
    ms: number(raw['ms'], 'ms'),
  };
  if (raw['engine'] !== undefined) file.engine = readEngine(raw['engine']);
  if (verdict === 'infected') file.signature = nonEmpty(raw['signature'], 'signature');
  if (verdict === 'unscannable') file.reason = unscannable(raw['reason']);
  else if (!/^[0-9a-f]{64}$/.test(file.sha256)) throw new Error('a judged file has no SHA-256');
  return file;
}

function readEngine(raw: unknown): EngineInfo {
  if (typeof raw !== 'object' || raw === null) throw new Error('engine is missing');
  const engine = raw as Raw;
  const signatures = engine['signatures'];
  return {
    name: nonEmpty(engine['name'], 'engine.name'),
    version: nonEmpty(engine['version'], 'engine.version'),
    signatures: signatures === 'test' ? 'test' : number(signatures, 'engine.signatures'),
    signaturesAt: typeof engine['signaturesAt'] === 'string' ? text(engine['signaturesAt'], 40) : null,
    limits: readLimits(engine['limits']),
    canaryAt: moment(engine['canaryAt'], 'engine.canaryAt'),
  };
}

function readLimits(raw: unknown): EngineLimits {
  if (typeof raw !== 'object' || raw === null) throw new Error('engine.limits is missing');
  const limits = raw as Raw;
  return {
    stream: number(limits['stream'], 'engine.limits.stream'),
    scan: number(limits['scan'], 'engine.limits.scan'),
    recursion: number(limits['recursion'], 'engine.limits.recursion'),
  };
}

/** The reason of the build, which must be one of its files'. A finding always wins, so none of them is infected. */
function mainReason(raw: unknown, files: readonly WireFileVerdict[]): UnscannableReason {
  const reason = unscannable(raw);
  if (files.some(({ verdict }) => verdict === 'infected')) throw new Error('a file of an unscannable build is infected');
  if (!files.some((file) => file.reason === reason)) throw new Error('no file of an unscannable build has its reason');
  return reason;
}

function unscannable(raw: unknown): UnscannableReason {
  const code = String(raw ?? '');
  if (!isReason(code) || !code.startsWith('unscannable:')) throw new Error('reason is not one of the known unscannable reasons');
  return code as UnscannableReason;
}

function list(raw: unknown): Raw[] {
  if (!Array.isArray(raw) || raw.length === 0 || raw.length > MAX_FILES) throw new Error(`files must be a list of 1 to ${MAX_FILES}`);
  return raw.map((item) => (typeof item === 'object' && item !== null ? (item as Raw) : {}));
}

function oneOf<T extends string>(words: readonly T[], raw: unknown, name: string): T {
  const word = words.find((candidate) => candidate === raw);
  if (word === undefined) throw new Error(`${name} is none of ${words.join(', ')}`);
  return word;
}

function number(raw: unknown, name: string): number {
  if (typeof raw !== 'number' || !Number.isFinite(raw) || raw < 0) throw new Error(`${name} is not a number`);
  return raw;
}

function moment(raw: unknown, name: string): string {
  const ms = momentOf(raw);
  if (!Number.isFinite(ms)) throw new Error(`${name} is no ISO 8601 moment in UTC`);
  return new Date(ms).toISOString();
}

function nonEmpty(raw: unknown, name: string): string {
  const value = text(raw, 500);
  if (value === '') throw new Error(`${name} is empty`);
  return value;
}

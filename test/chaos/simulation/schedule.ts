/** Random schedules of uploads, changes, deaths and faults for the model check, and how one is played. */
import fc from 'fast-check';
import { Random } from '../random.ts';
import { SimulatedTime } from './clock.ts';
import { SimulatedEngine } from './engine.ts';
import { InvariantError, type Nature, type Row, type SimulatedFile, SimulatedPocketBase } from './pocketbase.ts';
import { SimulatedSidecar, type World } from './sidecar.ts';

const MAX_RETRIES = 3;
/** Events fall into so much time; afterwards the world is left in peace. */
const TROUBLE_MS = 120_000;
/** Within so much peace everything must have come to its end: the longest is a suspect behind others, each retried alone. */
const PEACE_MS = 3_600_000;

type FileSpec = { readonly nature: Nature; readonly ms: number };

export interface Schedule {
  readonly seed: number;
  readonly builds: readonly { readonly at: number; readonly files: readonly FileSpec[] }[];
  readonly events: readonly Event[];
}

type Event = { readonly at: number } & (
  | { readonly kind: 'kill' | 'pause'; readonly sidecar: number; readonly ms: number }
  | { readonly kind: 'engine dies' | 'away' | 'mute' | 'blocked'; readonly ms: number }
  | { readonly kind: 'engine babbles' | 'PocketBase dies' }
  | { readonly kind: 'delete' | 'release' | 'revoke' | 'rescan' | 'remove'; readonly build: number }
  | { readonly kind: 'add' | 'replace'; readonly build: number; readonly files: readonly FileSpec[] }
);

const at = fc.integer({ min: 0, max: TROUBLE_MS });
const ms = fc.integer({ min: 1, max: 60_000 });
const build = fc.nat({ max: 7 });
const nature: fc.Arbitrary<Nature> = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Nature>('clean') },
  { weight: 3, arbitrary: fc.constant<Nature>('infected') },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Nature>('unscannable', 'kills engine', 'hangs engine', 'kills worker', 'kills claimer', 'missing'),
  },
);
const files = fc.array(fc.record({ nature, ms: fc.integer({ min: 1, max: 15_000 }) }), { minLength: 0, maxLength: 3 });
const some = fc.array(fc.record({ nature, ms: fc.integer({ min: 1, max: 15_000 }) }), { minLength: 1, maxLength: 2 });

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ at, kind: fc.constantFrom('kill' as const, 'pause' as const), sidecar: fc.nat({ max: 1 }), ms }),
  fc.record({ at, kind: fc.constantFrom('engine dies' as const, 'away' as const, 'mute' as const, 'blocked' as const), ms }),
  fc.record({ at, kind: fc.constantFrom('engine babbles' as const, 'PocketBase dies' as const) }),
  fc.record({
    at,
    kind: fc.constantFrom('delete' as const, 'release' as const, 'revoke' as const, 'rescan' as const, 'remove' as const),
    build,
  }),
  fc.record({ at, kind: fc.constantFrom('add' as const, 'replace' as const), build, files: some }),
);

export const schedules: fc.Arbitrary<Schedule> = fc.record({
  seed: fc.integer(),
  builds: fc.array(fc.record({ at, files }), { minLength: 1, maxLength: 8 }),
  events: fc.array(event, { maxLength: 12 }),
});

/** Answers the checks as they are in the end. Rejects with what was not as it must be. */
export async function play(schedule: Schedule): Promise<readonly Row[]> {
  const time = new SimulatedTime();
  const random = new Random(schedule.seed);
  const pocketbase = new SimulatedPocketBase(MAX_RETRIES, () => time.now(), random);
  const broken: string[] = [];
  const world: World = {
    time,
    random,
    pocketbase,
    engine: new SimulatedEngine(time),
    network: { blockedUntil: 0, awayUntil: 0, muteUntil: 0 },
    files: new WeakMap(),
    broken: (what) => broken.push(what),
  };
  const sidecars = [new SimulatedSidecar(world, 'one'), new SimulatedSidecar(world, 'two')];
  let names = 0;
  const filesOf = (specs: readonly FileSpec[]): SimulatedFile[] => specs.map((spec) => ({ ...spec, name: `f${++names}` }));
  for (const [index, { at: when, files: specs }] of schedule.builds.entries()) {
    time.at(when, () => {
      pocketbase.create(`b${index}`, filesOf(specs));
      for (const sidecar of sidecars) sidecar.notify();
    });
  }
  for (const each of schedule.events) time.at(each.at, () => strike(each, world, sidecars, filesOf));
  const sweep = () => {
    if (time.now() >= world.network.blockedUntil) pocketbase.sweep();
    time.at(time.now() + 60_000, sweep);
  };
  time.at(60_000, sweep);
  await time.run(TROUBLE_MS, () => false);
  const isOver = () => broken.length > 0 || (pocketbase.isQuiet() && sidecars.every((sidecar) => sidecar.isIdle()));
  const isQuiet = await time.run(TROUBLE_MS + PEACE_MS, isOver);
  if (broken.length > 0) throw new InvariantError(broken.join('; '));
  if (!isQuiet) throw new InvariantError(`it never came to rest: ${JSON.stringify([...pocketbase.rows.values()])}`);
  const troubles = schedule.events.filter(({ kind }) => isTrouble(kind)).length;
  const rows = [...pocketbase.rows.values()];
  for (const row of rows) judge(row, troubles);
  if (isHarmless(schedule)) for (const id of pocketbase.blamed) throw new InvariantError(`${id} was blamed for what it had no part in`);
  return rows;
}

function strike(
  each: Event,
  world: World,
  sidecars: readonly SimulatedSidecar[],
  filesOf: (specs: readonly FileSpec[]) => SimulatedFile[],
): void {
  const { time, network, engine, pocketbase } = world;
  switch (each.kind) {
    case 'kill':
      return sidecars[each.sidecar]!.kill();
    case 'pause':
      return sidecars[each.sidecar]!.pause(each.ms);
    case 'engine dies':
      return engine.die(each.ms);
    case 'engine babbles':
      return engine.babble();
    case 'PocketBase dies':
      network.awayUntil = time.now() + 1_000;
      return pocketbase.crash();
    case 'away':
      network.awayUntil = time.now() + each.ms;
      return;
    case 'mute':
      network.muteUntil = time.now() + each.ms;
      return;
    case 'blocked':
      network.blockedUntil = time.now() + each.ms;
      return;
    case 'delete':
      return pocketbase.delete(`b${each.build}`);
    case 'release':
    case 'revoke':
    case 'rescan':
      return pocketbase.decide(`b${each.build}`, each.kind);
    case 'remove':
      return pocketbase.changeFiles(`b${each.build}`, (pocketbase.rows.get(`b${each.build}`)?.files ?? []).slice(1));
    case 'add':
      return pocketbase.changeFiles(`b${each.build}`, [...(pocketbase.rows.get(`b${each.build}`)?.files ?? []), ...filesOf(each.files)]);
    case 'replace':
      return pocketbase.changeFiles(`b${each.build}`, filesOf(each.files));
    default:
      each satisfies never;
  }
}

/** Nothing in it may be counted against any check. */
function isHarmless({ builds, events }: Schedule): boolean {
  const specs = [...builds, ...events].flatMap((each) => ('files' in each ? each.files : []));
  const isFaulty = specs.some((file) => file.nature === 'missing' || lethal.includes(file.nature));
  // A file that is removed in the middle of a rescan cannot be opened any more. Several blocks, one soon after the other, may cost a try.
  return !isFaulty && !events.some(({ kind }) => isTrouble(kind) || kind === 'rescan' || kind === 'blocked');
}

/** What may cost a check that is innocent one of its retries; a PocketBase that is blocked by a backup, or dies, may not make it fail. */
function isTrouble(kind: Event['kind']): boolean {
  return ['kill', 'pause', 'engine dies', 'engine babbles', 'away', 'mute'].includes(kind);
}

/** The end follows from the files, unless so much happened that even an innocent check may have used up its retries. */
function judge(row: Row, troubles: number): void {
  const ends = endsOf(row.files.map((file) => file.nature));
  const end = row.status === 'error' ? row.reason : row.status;
  // Once beside a file that kills, each later time alone: a retry is left for one trouble more. What fails anyway fails by its last cause.
  const isFaulty = ends.every((each) => failures.includes(each));
  const mayHaveFailed = failures.includes(end) && (isFaulty || troubles >= MAX_RETRIES - 1);
  if (!ends.includes(end) && !mayHaveFailed) throw new InvariantError(`${row.id} ended as ${end}, not as ${ends.join(' or ')}`);
}

const failures = ['engine-reply', 'lease-expired', 'download', 'download:missing', 'unexpected'];
const lethal: readonly Nature[] = ['kills engine', 'hangs engine', 'kills worker', 'kills claimer'];

function endsOf(natures: readonly Nature[]): string[] {
  if (natures.length === 0) return ['no-files'];
  if (natures.some((each) => lethal.includes(each)))
    return ['engine-reply', 'lease-expired', 'download:missing', ...(natures.includes('infected') ? ['infected'] : [])];
  // Beside the death of an engine the other file may fail often enough before the finding is heard.
  if (natures.includes('missing')) return ['download:missing', ...(natures.includes('infected') ? ['infected'] : [])];
  if (natures.includes('infected')) return ['infected'];
  return [natures.includes('unscannable') ? 'unscannable:encrypted' : 'clean'];
}

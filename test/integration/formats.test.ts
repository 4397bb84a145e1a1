/** Every line of the table of formats, proved by a real engine: as the upload itself, and as a member of a zip, a tar and a tar.gz. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { obtainArchivers } from '../../scripts/parts/archivers.ts';
import { testFindings } from '../../scripts/test-signatures.ts';
import { type Format, formats } from '../../sidecar/clamd/formats/formats.ts';
import { tarOf, zipOf } from '../../sidecar/clamd/payloads.ts';
import { inputOf } from '../contract/scanner.ts';
import { type RunningClamd, startClamd } from '../harness/clamd.ts';
import { eicar } from '../harness/eicar.ts';
import { type RunningPool, startPool } from '../harness/engine-pool.ts';
import { formatSamples } from '../harness/format-samples.ts';
import { createPackers, type Packers } from '../harness/packers.ts';

const never = new AbortController().signal;
/** Enough that every packer packs it. */
const filler = Buffer.from('some harmless words that make it longer\n'.repeat(100));
const harmful = Buffer.concat([eicar(), filler]);

const places: Readonly<Record<string, (data: Buffer) => Buffer>> = {
  'the upload itself': (data) => data,
  'in a zip': (data) => zipOf({ name: 'a.txt', data: filler }, { name: 'inner.bin', data }),
  'stored in a zip': (data) => zipOf({ name: 'inner.bin', data, method: 0 }, { name: 'a.txt', data: filler }),
  'in a tar': (data) => tarOf('inner.bin', data),
  'in a tar.gz': (data) => gzipSync(tarOf('inner.bin', data)),
};

describe('a format', () => {
  let clamd: RunningClamd;
  let running: RunningPool;
  let packers: Packers;
  beforeAll(async () => {
    clamd = await startClamd();
    running = startPool([clamd.address]);
    packers = await createPackers(await obtainArchivers(() => {}));
    await running.pool.ready(never);
  });
  afterAll(async () => {
    await packers[Symbol.asyncDispose]();
    await running[Symbol.asyncDispose]();
    await clamd[Symbol.asyncDispose]();
  });

  const placesOf = ({ where }: Format) =>
    Object.entries(places).filter(([place]) => where === undefined || (where === 'as the upload') === (place === 'the upload itself'));
  const answers = async (format: Format, sample: Buffer) => {
    const entries = placesOf(format).map(async ([place, wrap]) => {
      const { answer } = await running.pool.scan(inputOf(wrap(sample)), never);
      return [place, answer.kind === 'unscannable' ? answer.reason : answer.kind === 'infected' ? answer.signature : 'clean'] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  };
  const everywhere = (format: Format, answer: string) => Object.fromEntries(placesOf(format).map(([place]) => [place, answer]));

  const isJudged = ({ answer }: { answer: string }) => answer === 'judged';

  it.each(formats.filter(isJudged))('$name: EICAR is found in it, and harmless content is clean', async (format) => {
    const sample = formatSamples[format.name];
    expect(await answers(format, await sample(harmful, packers))).toEqual(everywhere(format, testFindings.eicar));
    expect(await answers(format, await sample(filler, packers))).toEqual(everywhere(format, 'clean'));
  });

  it.each(formats.filter((format) => !isJudged(format)))('$name: is $answer, unless something is found in it', async (format) => {
    const sample = formatSamples[format.name];
    for (const found of Object.values(await answers(format, await sample(harmful, packers))))
      expect([format.answer, testFindings.eicar]).toContain(found);
    // An engine with the unrar module judges it.
    const harmless = await answers(format, await sample(filler, packers));
    if (format.name !== 'RAR' || harmless['the upload itself'] !== 'clean') expect(harmless).toEqual(everywhere(format, format.answer));
  });
});

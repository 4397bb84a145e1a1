/** POST /api/av/probe: the build that the console tries to download every minute, and that must never be had. */
import { appendLog, apply, buildsCollectionId, CHECKS, fileNames, findCheck } from './checks.ts';
import { forgetFinished } from './counts.ts';
import { bodyOf } from './http.ts';
import { probe } from './rules.ts';
import { isOurOwn } from './second-lock.ts';
import type { ProbeAnswer } from './wire.ts';

/** An image, so that a thumbnail of it can be asked for. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const FILE = 'pocketwarden-gate-probe.png';
/** Fields that name a build in most pages. */
const LABELS = ['app', 'name', 'title', 'branch', 'version'];
const LABEL = 'Pocketwarden gate probe';

/** Answers the one that there is, or makes it: build and check in one transaction, so that no scanner ever sees it wait. */
export function makeProbe(e: core.RequestEvent): void {
  const anywhere = bodyOf(e)['anywhere'] === true;
  e.json(200, found(e.app) ?? made(e.app, anywhere));
}

function found(app: CoreApp): ProbeAnswer | null {
  const rows = arrayOf(new DynamicModel({ build: '' }));
  app.db().newQuery(`SELECT build FROM ${CHECKS} WHERE status = 'error' AND reason = 'probe' AND open = FALSE`).all(rows);
  const ids = rows.map((row) => String(row['build']));
  if (ids.length === 0) return null;
  const build = app.findRecordsByIds(buildsCollectionId(app), ids).find((record) => fileNames(record!).length > 0);
  return build ? { build: build.id } : null;
}

function made(app: CoreApp, anywhere: boolean): ProbeAnswer {
  const builds = app.findCollectionByNameOrId(buildsCollectionId(app));
  if (!anywhere && !isOurOwn(builds)) return { build: null, why: 'the builds are yours, and nobody has asked for one more among them' };
  const field = fieldFor(builds);
  if (field === null) return { build: null, why: 'no file field of the builds takes a PNG' };
  let answer: ProbeAnswer | null = null;
  try {
    app.runInTransaction((tx) => {
      answer = found(tx);
      if (answer !== null) return;
      const build = new Record(builds);
      for (const name of LABELS) if (builds.fields.getByName(name)?.type() === 'text') build.set(name, LABEL);
      build.set(field, $filesystem.fileFromBytes(Buffer.from(PNG, 'base64') as unknown as number[], FILE));
      tx.save(build);
      const check = findCheck(tx, build.id);
      if (!check) throw new Error('its check is missing');
      const now = Date.now();
      apply(check, probe(1, now));
      appendLog(check, now, 'Made by Pocketwarden to see whether the gate is shut. It is never opened.');
      tx.saveNoValidate(check);
      answer = { build: build.id };
    });
  } catch (error) {
    app.logger().warn('av: the probe of the gate could not be made', 'error', String(error));
    return { build: null, why: `PocketBase does not take it: ${String(error).slice(0, 300)}` };
  } finally {
    forgetFinished(app);
  }
  return answer ?? { build: null, why: 'it was not made' };
}

/** The first one that takes an image; a host may have fields for installers alone. */
function fieldFor(builds: core.Collection): string | null {
  for (const field of builds.fields as unknown as core.Field[]) {
    if (field?.type() !== 'file') continue;
    const types = [...(field as unknown as core.FileField).mimeTypes];
    if (types.length === 0 || types.includes('image/png')) return field.getName();
  }
  return null;
}

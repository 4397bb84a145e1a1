/** PocketBases for tests of the second lock, and what their builds look like. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { eventually } from './eventually.ts';
import { type PocketBaseFolder, type PocketBaseOptions, preparePocketBase, type RunningPocketBase, servePocketBase } from './pocketbase.ts';

export const QUESTION = '(@request.context != "protectedFile" || av_build_checks_via_build.open = true)';

export async function prepared(options: PocketBaseOptions): Promise<PocketBaseFolder> {
  const folder = await preparePocketBase(options);
  onTestFinished(() => folder.remove());
  expect(await folder.run(['migrate', 'up'])).toMatchObject({ code: 0 });
  return folder;
}

export async function served(folder: PocketBaseFolder): Promise<RunningPocketBase> {
  const pb = await servePocketBase(folder);
  onTestFinished(() => pb.stop({ keep: true }));
  return pb;
}

export async function withoutHooks(pb: RunningPocketBase): Promise<void> {
  await pb.kill('SIGTERM');
  await rm(join(pb.dir, 'pb_hooks'), { recursive: true });
  await pb.restart();
}

/** To before the second lock. */
export async function down(folder: PocketBaseFolder) {
  const files = await readdir(join(folder.dir, 'pb_migrations'));
  return folder.run(['migrate', 'down', String(files.filter((file) => file >= '9000000007').length)], 'y\n');
}

export interface Shape {
  viewRule: string | null;
  flags: Record<string, boolean>;
}

export async function shapeOf(pb: RunningPocketBase, collection: string): Promise<Shape> {
  const { viewRule, fields } = await pb.client.collections.getOne(collection);
  const files = fields.filter(({ type }) => type === 'file').map((field) => [field.name, field['protected']]);
  return { viewRule: viewRule ?? null, flags: Object.fromEntries(files) };
}

/** A running PocketBase learns of it from a file that the command touches. */
export async function becomes(pb: RunningPocketBase, shape: Shape): Promise<void> {
  let seen: Shape | undefined;
  const same = async () => {
    seen = await shapeOf(pb, 'app_builds');
    return JSON.stringify(seen) === JSON.stringify(shape);
  };
  await eventually('PocketBase knows of the change', same, 5000).catch(() => expect(seen).toEqual(shape));
}

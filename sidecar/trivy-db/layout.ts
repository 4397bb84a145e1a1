/** Where things lie in the output folder, and what a build is called. */
import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';

export interface Layout {
  readonly root: string;
  readonly builds: string;
  readonly records: string;
  readonly logs: string;
  /** Names the published build. Nothing else decides what is published. */
  readonly published: string;
  /** The process group that works for the running build, for whoever comes after a kill -9. */
  readonly child: string;
  build(id: string): BuildFolder;
  record(id: string): string;
}

export interface BuildFolder {
  readonly path: string;
  readonly database: string;
  readonly compacted: string;
  readonly metadata: string;
  readonly archive: string;
  /** Written last: a folder that has it is whole. */
  readonly manifest: string;
}

export function layoutOf(outputDir: string): Layout {
  const root = resolve(outputDir);
  const builds = join(root, 'builds');
  const records = join(root, 'records');
  return {
    root,
    builds,
    records,
    logs: join(root, 'logs'),
    published: join(root, 'published.json'),
    child: join(root, 'child.json'),
    build: (id) => buildFolder(join(builds, checked(id))),
    record: (id) => join(records, `${checked(id)}.json`),
  };
}

function buildFolder(path: string): BuildFolder {
  return {
    path,
    database: join(path, 'trivy.db'),
    compacted: join(path, 'trivy.db.compacted'),
    metadata: join(path, 'metadata.json'),
    archive: join(path, 'trivy.db.tar.gz'),
    manifest: join(path, 'manifest.json'),
  };
}

const BUILD_ID = /^\d{8}T\d{6}Z-[0-9a-f]{6}$/;

export function isBuildId(text: string): boolean {
  return BUILD_ID.test(text);
}

/** `20261121T160812Z-3fa2c1`: sorts by time, also within a second, because its last part begins with the milliseconds. */
export function newBuildId(now: Date): string {
  const milliseconds = now.getUTCMilliseconds().toString(16).padStart(3, '0');
  const seconds = now.toISOString().slice(0, 19).replace(/[-:]/g, '');
  return `${seconds}Z-${milliseconds}${randomBytes(2).toString('hex').slice(1)}`;
}

/** An id becomes part of a path: whatever is not one never does. */
function checked(id: string): string {
  if (!isBuildId(id)) throw new Error(`${JSON.stringify(id)} is not the id of a build`);
  return id;
}

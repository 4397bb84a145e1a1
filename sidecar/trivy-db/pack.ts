/** The archive that is downloaded and pulled, and the OCI manifest that describes it. The same files give the same bytes. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { syncFile } from '../durable.ts';

export interface Packed {
  readonly size: number;
  /** `sha256:…` */
  readonly digest: string;
}

/** A time of the past that tar programs do not call implausible. */
const fixed = { mtime: new Date('2000-01-01T00:00:00Z'), mode: 0o644, uid: 0, gid: 0, uname: '', gname: '' };

/** Writes trivy.db and metadata.json to `archive` and on to the disk; tells the share of the database that is packed, from 0 to 1. */
export async function packArchive(
  database: string,
  metadata: Buffer,
  archive: string,
  progress: (share: number) => void,
  signal: AbortSignal,
): Promise<Packed> {
  const { size } = await stat(database);
  const tar = pack();
  const hash = createHash('sha256');
  let written = 0;
  const measured = tap((chunk) => {
    written += chunk.length;
  }, hash);
  const done = pipeline(tar, createGzip({ level: 6 }), measured, createWriteStream(archive, { mode: 0o644 }), { signal });
  const filled = fill(tar, database, metadata, size, progress, signal).catch((thrown) => {
    tar.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)));
    throw thrown;
  });
  await Promise.all([filled, done]);
  await syncFile(archive);
  return { size: written, digest: `sha256:${hash.digest('hex')}` };
}

async function fill(
  tar: ReturnType<typeof pack>,
  database: string,
  metadata: Buffer,
  size: number,
  progress: (share: number) => void,
  signal: AbortSignal,
) {
  let read = 0;
  const counted = tap((chunk) => {
    read += chunk.length;
    progress(read / size);
  });
  await pipeline(createReadStream(database, { highWaterMark: 1024 * 1024 }), counted, tar.entry({ ...fixed, name: 'trivy.db', size }), {
    signal,
  });
  tar.entry({ ...fixed, name: 'metadata.json' }, metadata);
  tar.finalize();
}

function tap(see: (chunk: Buffer) => void, hash?: Hash): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      see(chunk);
      hash?.update(chunk);
      done(null, chunk);
    },
  });
}

export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return `sha256:${hash.digest('hex')}`;
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const DATABASE_BYTES = 'pocketwarden.database.bytes';

/** As `oras push --artifact-type` makes it upstream: one layer of Trivy's type whose title ends in `.tar.gz`, and the empty config. */
export function manifestOf(packed: Packed, databaseBytes: number, builtAt: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      artifactType: 'application/vnd.aquasec.trivy.config.v1+json',
      config: {
        mediaType: 'application/vnd.oci.empty.v1+json',
        digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
        size: 2,
      },
      layers: [
        {
          mediaType: 'application/vnd.aquasec.trivy.db.layer.v1.tar+gzip',
          digest: packed.digest,
          size: packed.size,
          annotations: { 'org.opencontainers.image.title': 'db.tar.gz', [DATABASE_BYTES]: String(databaseBytes) },
        },
      ],
      annotations: { 'org.opencontainers.image.created': builtAt },
    }),
  );
}

export interface ManifestFacts extends Packed {
  readonly databaseBytes: number;
  readonly builtAt: string;
}

/** Of a manifest that we wrote; throws when it is none. */
export function readManifest(manifest: Buffer): ManifestFacts {
  const { layers, annotations } = JSON.parse(manifest.toString()) as {
    layers: [{ digest: string; size: number; annotations: Record<string, string> }];
    annotations: Record<string, string>;
  };
  const [layer] = layers;
  const databaseBytes = Number(layer.annotations[DATABASE_BYTES]);
  const builtAt = annotations['org.opencontainers.image.created'];
  if (
    !/^sha256:[0-9a-f]{64}$/.test(layer.digest) ||
    !Number.isSafeInteger(layer.size) ||
    !Number.isSafeInteger(databaseBytes) ||
    builtAt === undefined
  )
    throw new Error('the manifest is not one of ours');
  return { digest: layer.digest, size: layer.size, databaseBytes, builtAt };
}

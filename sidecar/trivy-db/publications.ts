/** Kept builds, and the one that is published: a small file names it, and replacing that file in one step is the whole of publishing. */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { z } from 'zod';
import { codeOf, isAbsence, unlessAbsent, writeDurably } from '../durable.ts';
import { isBuildId, type Layout } from './layout.ts';
import type { Publication } from './model.ts';
import { digestOf, readManifest } from './pack.ts';

const pointer = z.object({
  buildId: z.string().refine(isBuildId),
  publishedAt: z.string(),
  /** The one whose place it took: clients that hold its manifest still come for its archive. */
  replaced: z.string().refine(isBuildId).nullable().default(null),
});
export type Pointer = z.infer<typeof pointer>;

/** Two changes within this time may leave the file with the same modification time; such a reading is not kept. */
const RACY_MS = 100;

export class Publications {
  readonly #layout: Layout;
  readonly #kept = new Map<string, Publication>();
  #published: { readonly stamp: string; readonly publication: Publication | null } | null = null;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Null before the first one; rejects where that cannot be told. Costs one question to the file system while nothing changes; another process may have published. */
  async published(): Promise<Publication | null> {
    const lookedAt = Date.now();
    const found = await unlessAbsent(stat(this.#layout.published, { bigint: true }));
    if (found === null) return null;
    const stamp = `${found.ino}:${found.size}:${found.mtimeNs}`;
    if (this.#published?.stamp === stamp) return this.#published.publication;
    const named = await this.pointer();
    const kept = named === null ? null : await this.kept(named.buildId);
    const publication = kept === null || named === null ? null : { ...kept, publishedAt: named.publishedAt };
    const isSettled = lookedAt - Number(found.mtimeMs) > RACY_MS;
    this.#published = isSettled && publication !== null ? { stamp, publication } : null;
    return publication;
  }

  /** What the file says, whether or not that build is whole. Null where there is none; rejects where it cannot be read. */
  async pointer(): Promise<Pointer | null> {
    const text = await unlessAbsent(readFile(this.#layout.published, 'utf8'));
    if (text === null) return null;
    try {
      return pointer.parse(JSON.parse(text));
    } catch (cause) {
      const advice = 'Remove it, then publish one of the kept builds or start a new one.';
      throw new Error(`${this.#layout.published} does not name the published build. ${advice}`, { cause });
    }
  }

  /** By the digest of the manifest or of the archive. */
  async byDigest(digest: string): Promise<Publication | null> {
    const matches = (each: Publication | null) => each !== null && (each.digest === digest || each.archive.digest === digest);
    const published = await this.published();
    if (matches(published)) return published;
    for (const id of await this.ids()) {
      const kept = await this.kept(id);
      if (matches(kept)) return kept;
    }
    return null;
  }

  /** Null unless the build is whole and still there; rejects where that cannot be told. Its `publishedAt` is the time of the build: only the published one has another. */
  async kept(id: string): Promise<Publication | null> {
    const { archive } = this.#layout.build(id);
    const known = this.#kept.get(id);
    const size = (await unlessAbsent(stat(archive)))?.size ?? null;
    if (size !== null && known?.archive.size === size) return known;
    this.#kept.delete(id);
    const publication = size === null ? null : await loaded(this.#layout, id).catch(nullUnlessUnread);
    if (publication === null || publication.archive.size !== size) return null;
    this.#kept.set(id, publication);
    return publication;
  }

  /** Of the folders of all builds, whole or not; newest first. */
  async ids(): Promise<readonly string[]> {
    return ((await unlessAbsent(readdir(this.#layout.builds))) ?? []).filter(isBuildId).sort().reverse();
  }

  /** From here on this is the published one, also after a power cut. */
  async flip(to: Omit<Pointer, 'replaced'>): Promise<void> {
    const before = await this.pointer();
    const replaced = before?.buildId === to.buildId ? before.replaced : (before?.buildId ?? null);
    this.#published = null;
    await writeDurably(this.#layout.published, `${JSON.stringify({ ...to, replaced })}\n`);
    this.#published = null;
  }

  /** Whoever has a file of it open reads on to its end. */
  async remove(id: string): Promise<void> {
    this.#kept.delete(id);
    const { manifest, path } = this.#layout.build(id);
    // First what makes it whole: half a removed build is none.
    await rm(manifest, { force: true });
    await rm(path, { recursive: true, force: true });
  }
}

/** What is missing, or says something else, is no whole build; what could not be read may be one. */
function nullUnlessUnread(thrown: unknown): null {
  if (codeOf(thrown) === null || isAbsence(thrown)) return null;
  throw thrown;
}

async function loaded(layout: Layout, id: string): Promise<Publication> {
  const folder = layout.build(id);
  const manifest = await readFile(folder.manifest);
  const { digest, size, databaseBytes, builtAt } = readManifest(manifest);
  return {
    buildId: id,
    publishedAt: builtAt,
    archive: { path: folder.archive, size, digest },
    metadata: await readFile(folder.metadata),
    databaseBytes,
    builtAt,
    manifest,
    digest: digestOf(manifest),
  };
}

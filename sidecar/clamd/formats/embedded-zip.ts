import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';
import { elsewhere, endReach, flag, isUnpacked, readDirectory, type ZipEntry } from './zip-directory.ts';

/** Every plain file pays for it in memory, so it is less than for what calls itself a zip. */
const reach = 1024 * 1024 + endReach;

/**
 * A zip behind something else: self-extracting programs, games with their data at the end. clamd finds its members by their local
 * headers alone, so it sees only those whose headers name their size.
 */
export class EmbeddedZipLook implements Look {
  readonly #tail: Tail;

  constructor(size: number) {
    this.#tail = new Tail(size, reach);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
  }

  end(): UnscannableReason | null {
    using tail = this.#tail;
    const directory = readDirectory(tail.bytes(), tail.start);
    if (directory === 'beyond') return 'unscannable:too-many-files';
    // The magic may stand in any data; only a directory that agrees with itself is one.
    if (typeof directory === 'string') return null;
    return first(directory.entries);
  }
}

function first(entries: readonly ZipEntry[]): UnscannableReason | null {
  for (const { method, flags, packed } of entries) {
    if (!isUnpacked(method, flags)) return 'unscannable:zip-method';
    if (packed !== 0 && (packed === elsewhere || (flags & (flag.sizesFollow | flag.masked)) !== 0)) return 'unscannable:format';
  }
  return null;
}

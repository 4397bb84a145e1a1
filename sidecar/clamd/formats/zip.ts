import type { UnscannableReason } from '../../scan/model.ts';
import type { Look } from './look.ts';
import { Tail } from './tail.ts';
import { directoryReach, elsewhere, endReach, flag, isUnpacked, readDirectory, type ZipEntry } from './zip-directory.ts';
import { type LocalHeader, ZipLocals } from './zip-locals.ts';

/**
 * A zip is looked at whole by ClamAV 1.4 only where the directory at its end, which leads clamd to the members, and the headers
 * in front of the members, which it then believes, tell the same story: it skips every member it cannot make sense of, and says
 * OK. What unpackers would show and clamd would skip is told here (read in libclamav/unzip.c of 1.4.5, tried on 1.4.6).
 */
export class ZipLook implements Look {
  readonly #tail: Tail;
  readonly #locals = new ZipLocals();

  constructor(size: number) {
    this.#tail = new Tail(size, directoryReach + endReach);
  }

  push(chunk: Uint8Array): void {
    this.#tail.push(chunk);
    this.#locals.push(chunk);
  }

  end(): UnscannableReason | null {
    using tail = this.#tail;
    const directory = readDirectory(tail.bytes(), tail.start);
    if (directory === 'none' || directory === 'broken') return 'unscannable:damaged';
    if (directory === 'zip64') return 'unscannable:format';
    if (directory === 'beyond' || this.#locals.overflow) return 'unscannable:too-many-files';
    // Its numbers are true only from another first byte; clamd counts from this one.
    if (directory.shift !== 0) return 'unscannable:damaged';
    return this.#firstReason(directory.entries);
  }

  #firstReason(entries: readonly ZipEntry[]): UnscannableReason | null {
    const listed = new Set<number>();
    for (const entry of entries) {
      listed.add(entry.localOffset);
      const reason = judge(entry, this.#locals.found.get(entry.localOffset));
      if (reason !== null) return reason;
    }
    for (const [offset, header] of this.#locals.found) {
      // Readers that go from member to member would show what the directory hides.
      if (header.chained && !listed.has(offset)) return 'unscannable:damaged';
    }
    return null;
  }
}

function judge(entry: ZipEntry, local: LocalHeader | undefined): UnscannableReason | null {
  if (local === undefined || local.method !== entry.method) return 'unscannable:damaged';
  if (!isUnpacked(entry.method, entry.flags | local.flags)) return 'unscannable:zip-method';
  if (((entry.flags | local.flags) & flag.masked) !== 0) return 'unscannable:encrypted';
  const believed = (local.flags & flag.sizesFollow) === 0 ? local.packed : entry.packed;
  if (believed === elsewhere || entry.packed === elsewhere) return 'unscannable:format';
  return believed === entry.packed ? null : 'unscannable:damaged';
}

import type { UnscannableReason } from '../../scan/model.ts';
import { both } from './both.ts';
import type { Look, LookContext } from './look.ts';
import { Tail } from './tail.ts';
import { WalkLook } from './walk.ts';
import { directoryReach, elsewhere, endReach, flag, isUnpacked, readDirectory, type ZipEntry } from './zip-directory.ts';
import { walkZipMembers, type ZipMember, type ZipMembers } from './zip-members.ts';

/**
 * A zip is looked at whole by ClamAV 1.4 only where the directory at its end, which leads clamd to the members, and the headers
 * in front of the members, which it then believes, tell the same story: it skips every member it cannot make sense of, and says
 * OK. What unpackers would show and clamd would skip is told here (read in libclamav/unzip.c of 1.4.5, tried on 1.4.6).
 */
export class ZipLook implements Look {
  readonly #tail: Tail;
  readonly #walk: WalkLook;
  readonly #current: { look: Look | null } = { look: null };
  #members: ZipMembers = { found: new Map(), excess: null };

  constructor(size: number | null, context: LookContext) {
    this.#tail = new Tail(size, directoryReach + endReach);
    const look = this;
    const current = this.#current;
    this.#walk = new WalkLook(function* (input) {
      look.#members = yield* walkZipMembers(input, context, current);
      return null;
    });
  }

  push(chunk: Uint8Array): void | Promise<void> {
    this.#tail.push(chunk);
    return this.#walk.push(chunk);
  }

  end(): UnscannableReason | null | Promise<UnscannableReason | null> {
    const walked = this.#walk.end();
    return walked instanceof Promise ? walked.then(() => this.#judge()) : this.#judge();
  }

  close(): void {
    this.#walk.close();
    this.#current.look?.close();
    this.#tail.close();
  }

  #judge(): UnscannableReason | null {
    if (this.#members.excess !== null) return this.#members.excess;
    const directory = readDirectory(this.#tail.bytes(), this.#tail.start);
    if (directory === 'none' || directory === 'broken') return 'unscannable:damaged';
    if (directory === 'zip64') return 'unscannable:zip64';
    if (directory === 'beyond') return 'unscannable:too-many-files';
    // Its numbers are true only from another first byte; clamd counts from this one.
    if (directory.shift !== 0) return 'unscannable:damaged';
    return this.#allReasons(directory.entries);
  }

  #allReasons(entries: readonly ZipEntry[]): UnscannableReason | null {
    const { found } = this.#members;
    const listed = new Set<number>();
    let reason: UnscannableReason | null = null;
    for (const entry of entries) {
      listed.add(entry.localOffset);
      reason = both(reason, judge(entry, found.get(entry.localOffset)));
    }
    for (const [offset, member] of found) {
      // Readers that go from member to member would show what the directory hides.
      if (member.chained && !listed.has(offset)) return both(reason, 'unscannable:damaged');
    }
    return reason;
  }
}

function judge(entry: ZipEntry, member: ZipMember | undefined): UnscannableReason | null {
  if (member === undefined || member.method !== entry.method) return 'unscannable:damaged';
  if (!isUnpacked(entry.method, entry.flags | member.flags)) return 'unscannable:zip-method';
  if (((entry.flags | member.flags) & flag.masked) !== 0) return 'unscannable:encrypted';
  const told = (member.flags & flag.sizesFollow) === 0 ? member : entry;
  if ([told.packed, told.size, entry.packed, entry.size].includes(elsewhere)) return 'unscannable:zip64';
  if (told.packed !== entry.packed || told.size !== entry.size) return 'unscannable:damaged';
  return member.content === null ? null : judgeContent(entry, member.content);
}

function judgeContent(entry: ZipEntry, { packed, size, crc, reason }: NonNullable<ZipMember['content']>): UnscannableReason | null {
  return packed === entry.packed && size === entry.size && crc === entry.crc ? reason : both(reason, 'unscannable:damaged');
}

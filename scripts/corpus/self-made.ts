/** What no registry has: the same content as people pack it themselves, by real archivers. */
import { readFile } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import { createPackers, type Packers, packedName } from '../../test/harness/packers.ts';
import { obtainArchivers } from '../parts/archivers.ts';
import type { Report } from '../parts/report.ts';

export interface SelfMade {
  readonly kind: string;
  readonly name: string;
  readonly bytes: Buffer;
}

/** From each of these Debian packages its data, as tar.zst, 7z, ISO image and AppImage-like. */
export async function selfMade(debs: readonly string[], report: Report): Promise<SelfMade[]> {
  await using packers = await createPackers(await obtainArchivers(report));
  const made: SelfMade[] = [];
  for (const path of debs) {
    const name = path.split('/').at(-1) ?? path;
    const tar = await packers.pipe('xz', ['--decompress', '--stdout'], dataOf(await readFile(path)));
    made.push({ kind: 'tar.zst, self-made', name, bytes: zstdCompressSync(tar) });
    made.push({ kind: '7z, self-made', name, bytes: await packers.pack('7zz', ['a', '-bso0', 'x.7z', packedName], 'x.7z', tar) });
    made.push({
      kind: 'ISO, self-made',
      name,
      bytes: await packers.pack('genisoimage', ['-quiet', '-r', '-o', 'x.iso', 'content'], 'x.iso', tar),
    });
    made.push({ kind: 'AppImage-like, self-made', name, bytes: await appImage(packers, tar) });
  }
  return made;
}

/** The third member of a Debian package, `data.tar.xz`: deb(5). */
function dataOf(deb: Buffer): Buffer {
  let at = 8;
  while (at + 60 <= deb.length) {
    const size = Number(deb.toString('latin1', at + 48, at + 58).trim());
    if (deb.toString('latin1', at, at + 11) === 'data.tar.xz') return deb.subarray(at + 60, at + 60 + size);
    at += 60 + size + (size % 2);
  }
  throw new Error('the Debian package has no data.tar.xz');
}

/** A program with the mark of AppImage type 2 in its header, and a SquashFS behind it. */
async function appImage(packers: Packers, content: Buffer): Promise<Buffer> {
  const program = Buffer.from(await packers.program());
  program.write('AI\x02', 8, 'latin1');
  return Buffer.concat([program, await packers.pack('mksquashfs', ['content', 'x.snap', '-quiet', '-no-progress'], 'x.snap', content)]);
}

import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { libraryFolders, unpackFromDebian } from './debian-packages.ts';

let folder: string;
let target: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-debian-'));
  target = join(folder, 'target');
  await mkdir(target);
  vi.stubEnv('PATH', `${folder}:/usr/bin:/bin`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, script: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
}

/** An archive with a program of this version, whose packages unpack to nothing; it notes what is downloaded. */
async function fakeArchive(candidate: string, { updateFails = false } = {}): Promise<void> {
  const dependencies = {
    engine:
      ' |Depends: libfast\n  Depends: libslow\n  Depends: <virtual>\n    libvirtual\n  PreDepends: libc6\n  Depends: adduser\n  Depends: zlib1g:any',
    libfast: '  Depends: libdeep\n  Depends: libc6',
    libdeep: '  Depends: libfast',
  };
  const cases = Object.entries(dependencies).map(([name, text]) => `${name}) printf '%s\\n' '${name}' '${text}' ;;`);
  await program('apt-config', 'echo');
  await program(
    'apt-cache',
    `if [ "$1" = policy ]; then echo "$2:"; echo "  Candidate: ${candidate}"; exit; fi
for each in "$@"; do case "$each" in ${cases.join('\n')} esac; done`,
  );
  await program(
    'apt-get',
    `case "$1" in
  update) ${updateFails ? 'echo "E: no network" >&2; exit 100' : 'exit 0'} ;;
  download) shift; for each in "$@"; do touch "$each.deb"; echo "$each" >> ${folder}/downloaded; done ;;
esac`,
  );
  await program('dpkg-deb', `mkdir -p "$3/usr/lib/x86_64-linux-gnu"`);
}

const unpack = () =>
  unpackFromDebian(
    target,
    { what: 'the engine', programs: ['engine'], others: ['fonts'], version: { pattern: /^1\.4\./, words: '1.4' }, mebibytes: 1 },
    () => {},
  );

describe('unpacking from Debian', () => {
  it('fetches a program with all its libraries: of alternatives the first, and never the C library', async () => {
    await fakeArchive('2:1.4.6+dfsg-1');
    await unpack();
    const downloaded = (await readFile(join(folder, 'downloaded'), 'utf8')).trim().split('\n').sort();
    expect(downloaded).toEqual(['engine', 'fonts', 'libdeep', 'libfast', 'zlib1g']);
    expect(await libraryFolders(target)).toEqual([join(target, 'usr', 'lib', 'x86_64-linux-gnu')]);
  });

  it.each([
    ['1.3.0-1', 'they offer engine 1.3.0-1, not 1.4'],
    ['(none)', 'they offer engine not at all, not 1.4'],
  ])('refuses an archive that offers %s', async (candidate, message) => {
    await fakeArchive(candidate);
    await expect(unpack()).rejects.toThrow(message);
  });

  it('goes on when some repository cannot be reached, and tells that one could not when nothing is found', async () => {
    await fakeArchive('1.4.1', { updateFails: true });
    await unpack();
    await fakeArchive('(none)', { updateFails: true });
    await expect(unpack()).rejects.toThrow('E: no network');
  });
});

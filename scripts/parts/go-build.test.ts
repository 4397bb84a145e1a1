import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { goBuild } from './go-build.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pocketwarden-go-'));
  vi.stubEnv('PATH', `${folder}:/usr/bin:/bin`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** A go that knows its version, one module with this sum, and how to write a file; it notes what it was asked. */
async function fakeGo(version: string, sum: string): Promise<void> {
  const module = JSON.stringify({ Sum: sum, Dir: folder });
  const script = `#!/bin/sh
echo "$GOTOOLCHAIN $GOFLAGS $*" >> ${folder}/asked
case "$1" in
  env) echo ${version} ;;
  mod) echo '${module}' ;;
  build) shift; while [ "$1" != -o ]; do shift; done; echo built > "$2" ;;
esac
`;
  await writeFile(join(folder, 'go'), script);
  await chmod(join(folder, 'go'), 0o755);
}

const source = { module: 'example.com/m@v1.0.0', sum: 'h1:right', package: './cmd', toolchain: '1.27.0', ldflags: '-s' };
const build = () => goBuild(source, join(folder, 'program'), () => {});
const asked = () => readFile(join(folder, 'asked'), 'utf8');

describe('building from source', () => {
  it('builds the module with the pinned sum, whatever the flags of the machine', async () => {
    vi.stubEnv('GOFLAGS', '-mod=mod');
    await fakeGo('go1.26.8', 'h1:right');
    await build();
    expect(await readFile(join(folder, 'program'), 'utf8')).toBe('built\n');
    expect(await asked()).toContain('go1.27.0  mod download -json example.com/m@v1.0.0');
    expect(await asked()).toContain('go1.27.0  build -mod=readonly');
  });

  it('refuses a module with another sum', async () => {
    await fakeGo('go1.26.8', 'h1:wrong');
    await expect(build()).rejects.toThrow("the module's sum is h1:wrong, not h1:right; refused");
    expect(await asked()).not.toContain(' build ');
  });

  it('uses a Go that is new enough as it is', async () => {
    await fakeGo('go1.28.1', 'h1:right');
    await build();
    expect(await asked()).toContain('local  build');
  });

  it('says so when Go is too old to fetch a newer one', async () => {
    await fakeGo('go1.19.8', 'h1:right');
    await expect(build()).rejects.toThrow('Go 1.19.8 is too old to fetch Go 1.27.0 by itself: install Go 1.21 or newer');
  });
});

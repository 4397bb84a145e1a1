import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { eventually } from '../../test/harness/eventually.ts';
import { type GoSource, goBuild } from './go-build.ts';

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
  const module = JSON.stringify({ Sum: sum, Dir: folder, Origin: { Hash: 'abc123' } });
  const script = `#!/bin/sh
echo "$GOTOOLCHAIN $GOFLAGS $* $GOEXPERIMENT" >> ${folder}/asked
case "$1" in
  env) echo ${version} ;;
  mod) echo '${module}' ;;
  build) shift; while [ "$1" != -o ]; do shift; done; echo built > "$2" ;;
esac
`;
  await writeFile(join(folder, 'go'), script);
  await chmod(join(folder, 'go'), 0o755);
}

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

const source = { module: 'example.com/m@v1.0.0', sum: 'h1:right', package: './cmd', toolchain: '1.27.0', ldflags: '-s' };
const build = (extra: Partial<GoSource> = {}) => goBuild({ ...source, ...extra }, join(folder, 'program'), () => {});
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

  it('refuses a module that comes from another commit', async () => {
    await fakeGo('go1.27.0', 'h1:right');
    await expect(build({ origin: 'def456' })).rejects.toThrow('the module comes from commit abc123, not def456; refused');
    expect(await asked()).not.toContain(' build ');
    await build({ origin: 'abc123' });
  });

  it('turns on what the module needs of Go, and nothing that the machine has on', async () => {
    vi.stubEnv('GOEXPERIMENT', 'arenas');
    await fakeGo('go1.27.0', 'h1:right');
    await build();
    await build({ experiment: 'jsonv2' });
    expect(await asked()).not.toMatch(/(mod|build) .*arenas/);
    expect(await asked()).toMatch(/ build .* jsonv2\n/);
  });

  it('fetches the Go it needs in place of one that is older by a patch', async () => {
    await fakeGo('go1.27.0', 'h1:right');
    await build({ toolchain: '1.27.1' });
    expect(await asked()).toContain('go1.27.1  build');
  });

  it('uses a Go that is new enough as it is', async () => {
    await fakeGo('go1.28.1', 'h1:right');
    await build();
    expect(await asked()).toContain('local  build');
  });

  it('ends with everything that Go has started when nobody wants it any more, and shows Go only what it is given', async () => {
    vi.stubEnv('OUR_SECRET', 'a secret of the tests');
    const script = `#!/bin/sh
case "$1" in
  env) echo go1.27.0 ;;
  *) env > ${folder}/env; sleep 600 & echo "$$ $!" > ${folder}/pids; wait ;;
esac
`;
    await writeFile(join(folder, 'go'), script);
    await chmod(join(folder, 'go'), 0o755);
    const wanted = new AbortController();
    const limits = { env: { PATH: '/usr/bin:/bin', HOME: folder }, signal: wanted.signal };
    const built = goBuild(source, join(folder, 'program'), () => {}, limits);
    const failed = expect(built).rejects.toThrow('did not finish');
    const pids = await eventually('go runs', async () => {
      const said = await readFile(join(folder, 'pids'), 'utf8').catch(() => '');
      return said.endsWith('\n') ? said.trim().split(' ').map(Number) : null;
    });
    wanted.abort();
    await failed;
    for (const pid of pids) await eventually(`process ${pid} has ended`, () => !isRunning(pid));
    expect(await readFile(join(folder, 'env'), 'utf8')).not.toContain('a secret of the tests');
    await expect(goBuild(source, join(folder, 'program'), () => {}, limits)).rejects.toThrow();
  });

  it('says so when Go is too old to fetch a newer one', async () => {
    await fakeGo('go1.19.8', 'h1:right');
    await expect(build()).rejects.toThrow('Go 1.19.8 is too old to fetch Go 1.27.0 by itself: install Go 1.21 or newer');
  });
});

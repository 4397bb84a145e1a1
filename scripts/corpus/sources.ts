/** Where real release files come from: package registries, by name, the newest version of each. */
import { gunzipSync } from 'node:zlib';

export interface ReleaseFile {
  /** As the report groups them. */
  readonly kind: string;
  readonly name: string;
  readonly url: string;
}

const MAX_MIB = 12;
const TIMEOUT_MS = 60_000;

const npm =
  '@esbuild/linux-x64 @esbuild/win32-x64 @esbuild/darwin-arm64 @swc/core-linux-x64-gnu @img/sharp-linux-x64 @img/sharp-libvips-linux-x64 @parcel/watcher-linux-x64-glibc @rollup/rollup-linux-x64-gnu @rollup/rollup-win32-x64-msvc lightningcss-linux-x64-gnu @tailwindcss/oxide-linux-x64-gnu bcrypt better-sqlite3 node-pty sqlite3 argon2 canvas fsevents re2 utf-8-validate bufferutil cpu-features ssh2 isolated-vm typescript react lodash webpack @biomejs/cli-linux-x64 @napi-rs/canvas-linux-x64-gnu';
const wheels =
  'numpy lxml cryptography pillow orjson pydantic-core ruff uv psutil greenlet msgpack aiohttp yarl multidict frozenlist markupsafe pyyaml cffi regex rpds-py grpcio zstandard lz4 brotli ujson websockets tornado pyzmq debugpy requests';
const go =
  'github.com/spf13/cobra github.com/gin-gonic/gin go.uber.org/zap github.com/stretchr/testify github.com/prometheus/client_golang github.com/gorilla/mux github.com/labstack/echo/v4 google.golang.org/grpc github.com/docker/cli github.com/google/go-containerregistry github.com/klauspost/compress github.com/mattn/go-sqlite3 modernc.org/sqlite github.com/pocketbase/pocketbase golang.org/x/image golang.org/x/tools github.com/ulikunitz/xz github.com/bodgit/sevenzip github.com/nwaples/rardecode github.com/go-git/go-git/v5';
const maven =
  'org/slf4j/slf4j-api org/ow2/asm/asm com/google/guava/guava org/apache/commons/commons-lang3 commons-io/commons-io com/fasterxml/jackson/core/jackson-databind org/xerial/sqlite-jdbc net/java/dev/jna/jna io/netty/netty-buffer org/postgresql/postgresql com/h2database/h2 org/apache/commons/commons-compress org/tukaani/xz com/github/luben/zstd-jni org/lz4/lz4-java org/junit/jupiter/junit-jupiter-api org/mockito/mockito-core ch/qos/logback/logback-classic org/eclipse/jetty/jetty-server org/apache/logging/log4j/log4j-core';
const crates =
  'serde-1.0.219 tokio-1.45.0 clap-4.5.38 regex-1.11.1 rand-0.9.1 syn-2.0.101 libc-0.2.172 hyper-1.6.0 rustls-0.23.27 zstd-sys-2.0.15+zstd.1.5.7 lzma-sys-0.1.20 bzip2-sys-0.1.13+1.0.8 libsqlite3-sys-0.33.0 ring-0.17.14 openssl-sys-0.9.108 image-0.25.6 zip-3.0.0 tar-0.4.44 flate2-1.1.1 windows-sys-0.59.0';
const debCount = 60;

/** Up to 180 files. A registry that does not answer, or a name it does not know, is told and left out. */
export async function releaseFiles(report: (line: string) => void): Promise<ReleaseFile[]> {
  const words = (text: string) => text.split(' ');
  const all = await Promise.all([
    each('npm tarball', words(npm), npmTarball, report),
    each('Python wheel', words(wheels), wheel, report),
    each('Go module zip', words(go), goZip, report),
    each('jar', words(maven), jar, report),
    each(
      'Rust crate',
      words(crates),
      (name) => Promise.resolve(`https://static.crates.io/crates/${name.replace(/-\d.*$/, '')}/${name.replace('+', '%2B')}.crate`),
      report,
    ),
    debs().catch((thrown: Error) => {
      report(`Debian packages: ${thrown.message}`);
      return [];
    }),
  ]);
  return all.flat();
}

async function each(
  kind: string,
  names: readonly string[],
  urlOf: (name: string) => Promise<string | null>,
  report: (line: string) => void,
): Promise<ReleaseFile[]> {
  const files: ReleaseFile[] = [];
  for (const name of names) {
    try {
      const url = await urlOf(name);
      if (url === null) report(`${kind} ${name}: none below ${MAX_MIB} MiB`);
      else files.push({ kind, name, url });
    } catch (thrown) {
      report(`${kind} ${name}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }
  return files;
}

async function get(url: string): Promise<Response> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer;
}

async function npmTarball(name: string): Promise<string> {
  const { dist } = (await (await get(`https://registry.npmjs.org/${name}/latest`)).json()) as { dist: { tarball: string } };
  return dist.tarball;
}

async function wheel(name: string): Promise<string | null> {
  const { urls } = (await (await get(`https://pypi.org/pypi/${name}/json`)).json()) as {
    urls: { filename: string; size: number; url: string }[];
  };
  const fit = urls.filter(({ filename, size }) => filename.endsWith('.whl') && size < MAX_MIB * 2 ** 20);
  const chosen = fit.find(({ filename }) => /manylinux.*x86_64/.test(filename)) ?? fit[0];
  // Mirrors give relative addresses, from below the page of the project.
  return chosen === undefined ? null : new URL(chosen.url, `https://pypi.org/simple/${name}/`).href;
}

async function goZip(name: string): Promise<string | null> {
  const versions = (await (await get(`https://proxy.golang.org/${name}/@v/list`)).text())
    .split('\n')
    .filter((version) => /^v\d+\.\d+\.\d+$/.test(version));
  const newest = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  return newest === undefined ? null : `https://proxy.golang.org/${name}/@v/${newest}.zip`;
}

async function jar(path: string): Promise<string | null> {
  const base = `https://repo1.maven.org/maven2/${path}`;
  const release = /<release>([^<]+)</.exec(await (await get(`${base}/maven-metadata.xml`)).text())?.[1];
  return release === undefined ? null : `${base}/${release}/${path.split('/').at(-1)}-${release}.jar`;
}

/** Spread evenly over the archive's small packages. */
async function debs(): Promise<ReleaseFile[]> {
  const base = 'https://deb.debian.org/debian';
  const packed = Buffer.from(await (await get(`${base}/dists/bookworm/main/binary-amd64/Packages.gz`)).arrayBuffer());
  const packages = gunzipSync(packed)
    .toString()
    .split('\n\n')
    .map((text) => ({ path: /^Filename: (.+)$/m.exec(text)?.[1], size: Number(/^Size: (\d+)$/m.exec(text)?.[1]) }))
    .filter(({ path, size }) => path !== undefined && size > 50_000 && size < 3 * 2 ** 20);
  const step = Math.max(1, Math.floor(packages.length / debCount));
  return packages
    .filter((_, i) => i % step === 0)
    .slice(0, debCount)
    .map(({ path = '' }) => ({ kind: 'Debian package', name: path.split('/').at(-1) ?? path, url: `${base}/${path}` }));
}

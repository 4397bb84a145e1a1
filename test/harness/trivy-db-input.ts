/** The smallest real input of trivy-db: what NVD and Alpine would say of one package that nobody has, and a root file system that has it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Planted {
  readonly packageName?: string;
  /** So many vulnerabilities of the package, from CVE-2099-0001 on. */
  readonly cves?: number;
  readonly fixedIn?: string;
  /** Of Alpine. */
  readonly release?: string;
}

/** The sources that this input is for; trivy-db cannot build one of them without the other. */
export const plantedSources = ['nvd', 'alpine'];

/** Writes the lists below the cache folder. Those that are there already stay. */
export async function plantVulnerability(cacheDir: string, planted: Planted = {}): Promise<void> {
  const { packageName = 'labpkg', cves = 1, fixedIn = '1.2.4-r0', release = '3.20' } = planted;
  const nvd = join(cacheDir, 'vuln-list-nvd/api/2099');
  const alpine = join(cacheDir, `vuln-list/alpine/${release}/main`);
  await mkdir(nvd, { recursive: true });
  await mkdir(alpine, { recursive: true });
  const ids = Array.from({ length: cves }, (_, index) => `CVE-2099-${String(index + 1).padStart(4, '0')}`);
  for (let at = 0; at < ids.length; at += 200) {
    await Promise.all(
      ids.slice(at, at + 200).map((id) => writeFile(join(nvd, `${id}.json`), JSON.stringify(nvdEntry(id, packageName, fixedIn)))),
    );
  }
  await writeFile(join(alpine, `${packageName}.json`), JSON.stringify(alpineEntry(packageName, release, { [fixedIn]: ids })));
}

/** In the shape of NVD's API 2.0; scores count only from nvd@nist.gov. */
function nvdEntry(id: string, packageName: string, fixedIn: string) {
  const vectorString = 'CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H';
  const cvssData = { version: '3.1', vectorString, baseScore: 9.8, baseSeverity: 'CRITICAL' };
  return {
    id,
    published: '2099-01-01T00:00:00.000',
    lastModified: '2099-01-02T00:00:00.000',
    vulnStatus: 'Analyzed',
    descriptions: [{ lang: 'en', value: `Planted vulnerability for tests: ${packageName} before ${fixedIn} is vulnerable.\nSecond line.` }],
    metrics: { cvssMetricV31: [{ source: 'nvd@nist.gov', type: 'Primary', cvssData }] },
    weaknesses: [{ source: 'nvd@nist.gov', type: 'Primary', description: [{ lang: 'en', value: 'CWE-79' }] }],
    references: [{ url: `https://example.invalid/${id}` }],
  };
}

function alpineEntry(name: string, release: string, secfixes: Record<string, string[]>) {
  const apkurl = '{{urlprefix}}/{{distroversion}}/{{reponame}}/{{arch}}/{{pkg.name}}-{{pkg.ver}}.apk';
  const where = { urlprefix: 'https://example.invalid/alpine', reponame: 'main', distroversion: `v${release}` };
  return { name, secfixes, apkurl, archs: ['x86_64'], ...where };
}

/** A tiny Alpine 3.20 with labpkg 1.2.3-r0, which CVE-2099-0001 is fixed after. */
export async function writeVulnerableRoot(root: string): Promise<void> {
  await mkdir(join(root, 'etc'), { recursive: true });
  await mkdir(join(root, 'lib/apk/db'), { recursive: true });
  await writeFile(join(root, 'etc/alpine-release'), '3.20.3\n');
  await writeFile(join(root, 'etc/os-release'), 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME="Alpine Linux v3.20"\n');
  const identity = ['C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'P:labpkg', 'V:1.2.3-r0', 'A:x86_64', 'S:1000', 'I:2000', 'T:lab package'];
  const origin = ['U:https://example.invalid', 'L:MIT', 'o:labpkg', 'm:Lab <lab@example.invalid>', 't:1700000000', `c:${'0'.repeat(40)}`];
  await writeFile(join(root, 'lib/apk/db/installed'), `${[...identity, ...origin].join('\n')}\n\n`);
}

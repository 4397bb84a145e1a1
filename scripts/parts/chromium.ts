import { chmod, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { cacheRoot, lookUp, makeInCache } from './cache.ts';
import { type DebianSelection, libraryFolders, systemName, unpackFromDebian } from './debian-packages.ts';
import type { Report } from './report.ts';
import { findProgram, run } from './run.ts';
import { formatRange, isWithin, parseVersion, type VersionRange } from './version.ts';

export interface Chromium {
  readonly bin: string;
  /** As it says it itself. */
  readonly version: string;
}

const SUPPORTED: VersionRange = { atLeast: [120, 0, 0], below: [Number.POSITIVE_INFINITY, 0, 0] };

/** The shell is the whole engine without windows; fonts, because a machine without a desktop has none. */
const DEBIAN: DebianSelection = {
  what: 'Chromium',
  programs: ['chromium-headless-shell'],
  others: ['chromium-common', 'fonts-inter', 'fonts-dejavu-core', 'fonts-droid-fallback'],
  mebibytes: 125,
};

const NAMES = ['chromium', 'chromium-headless-shell', 'google-chrome', 'google-chrome-stable'];
const MAC = '/Applications/Google Chrome.app/Contents/MacOS';

/**
 * A Chromium that runs without a display: CHROMIUM_BIN, else one on PATH, else the cache, else Debian's package, which is unpacked
 * into the cache with its libraries and fonts: nothing is installed, root is not needed. Throws with every reason when none works;
 * an explicit path that does not serve is an error.
 */
export async function obtainChromium(report: Report): Promise<Chromium> {
  const explicit = process.env.CHROMIUM_BIN;
  if (explicit !== undefined && explicit !== '') {
    const found = await supported(explicit);
    if (found === null) throw new Error(`CHROMIUM_BIN=${explicit} is not a Chromium ${formatRange(SUPPORTED)}. Correct it or unset it.`);
    return found;
  }
  const system = await systemName();
  const entry = {
    name: `chromium-${system}-${process.arch}`,
    check: (folder: string) => supported(join(folder, 'chromium')),
    make: async (folder: string) => {
      await unpackFromDebian(folder, DEBIAN, report);
      await writeLauncher(folder);
    },
  };
  return firstThatWorks(
    'Chromium',
    [
      { from: 'this machine', take: installed },
      { from: 'the cache', take: () => lookUp(cacheRoot(), entry) },
      { from: `the packages of ${system}`, take: () => makeInCache(cacheRoot(), entry, report) },
    ],
    report,
    'Install Chromium or Google Chrome, or set CHROMIUM_BIN.',
  );
}

async function installed(): Promise<Chromium | null> {
  for (const name of NAMES) {
    const bin = await findProgram(name);
    const found = bin === null ? null : await supported(bin);
    if (found !== null) return found;
  }
  return process.platform === 'darwin' ? supported(join(MAC, 'Google Chrome')) : null;
}

async function supported(bin: string): Promise<Chromium | null> {
  const { code, stdout } = await run(bin, ['--version', '--no-sandbox'], { timeoutMs: 30_000 });
  const said = code === 0 ? (/\b\d+(?:\.\d+)+/.exec(stdout)?.[0] ?? '') : '';
  const version = parseVersion(said);
  return version !== null && isWithin(version, SUPPORTED) ? { bin, version: said } : null;
}

/** Everything in it is relative to where it stands: the folder is moved into its place when it is complete. */
async function writeLauncher(folder: string): Promise<void> {
  const base = await libraryFolders(folder);
  // libpulse finds its other half by an absolute path of the system.
  const libraries = [...base, ...base.map((each) => join(each, 'pulseaudio')), join(folder, 'usr', 'lib', 'chromium')];
  const path = libraries.map((each) => `$here/${relative(folder, each)}`).join(':');
  const lines = [
    '#!/bin/sh',
    'here=$(dirname "$(readlink -f "$0")")',
    `LD_LIBRARY_PATH="${path}" FONTCONFIG_FILE="$here/fonts.conf" exec "$here/usr/lib/chromium/chromium-headless-shell" "$@"`,
    '',
  ];
  await writeFile(join(folder, 'fonts.conf'), FONTS);
  await writeFile(join(folder, 'chromium'), lines.join('\n'));
  await chmod(join(folder, 'chromium'), 0o755);
}

/** In place of a generic name; strongly, or what the language asks for would come first. */
const GENERIC_FONTS = {
  'system-ui': 'Inter',
  'sans-serif': 'Inter',
  sans: 'Inter',
  Arial: 'Inter',
  serif: 'DejaVu Serif',
  'ui-monospace': 'DejaVu Sans Mono',
  monospace: 'DejaVu Sans Mono',
};

/** Only the unpacked fonts, so that a page looks the same on every machine. DejaVu has Hebrew and Arabic, Droid Fallback Han. */
const FONTS = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
${Object.entries(GENERIC_FONTS)
  .map(
    ([generic, family]) => `  <match>
    <test name="family"><string>${generic}</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>${family}</string></edit>
  </match>`,
  )
  .join('\n')}
  <match target="pattern"><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match>
  <match target="pattern"><edit name="family" mode="append_last"><string>Droid Sans Fallback</string></edit></match>
  <match target="font"><edit name="hintstyle" mode="assign"><const>hintslight</const></edit></match>
</fontconfig>
`;

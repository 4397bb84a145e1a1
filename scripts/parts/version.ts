export type Version = readonly [major: number, minor: number, patch: number];

/** The first `a.b` or `a.b.c` in what a program prints for `--version`; null when there is none, as with an `(untracked)` build. */
export function parseVersion(text: string): Version | null {
  const match = /(?<![\d.])(\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

export function formatVersion(version: Version): string {
  return version.join('.');
}

export interface VersionRange {
  readonly atLeast: Version;
  readonly below: Version;
}

export function isWithin(version: Version, range: VersionRange): boolean {
  return compare(version, range.atLeast) >= 0 && compare(version, range.below) < 0;
}

export function formatRange(range: VersionRange): string {
  return `at least ${formatVersion(range.atLeast)} and below ${formatVersion(range.below)}`;
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

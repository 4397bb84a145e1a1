import { describe, expect, it } from 'vitest';
import { variables } from '../config-variables.ts';
import { defaultSources, foldersOf, repositoriesFor, upstreamSources } from './git-sources.ts';

describe('the lists', () => {
  it('are those of the 33 sources that the pinned trivy-db builds by default', () => {
    expect(defaultSources).toHaveLength(33);
    expect(defaultSources[0]).toBe('nvd');
    expect(foldersOf([]).map(({ source }) => source)).toEqual(expect.arrayContaining([...defaultSources]));
  });

  it('each lie in a repository that is fetched', () => {
    const fetched = new Set(upstreamSources.map(({ folder }) => folder));
    for (const { folder } of foldersOf([])) expect(fetched, folder).toContain(folder.split('/')[0]);
    expect(repositoriesFor([])).toEqual(upstreamSources);
  });

  it('are fetched as far as the sources need them, and all where one is not known', () => {
    expect(repositoriesFor(['nvd', 'alpine', 'debian']).map(({ folder }) => folder)).toEqual([
      'vuln-list',
      'vuln-list-debian',
      'vuln-list-nvd',
    ]);
    expect(repositoriesFor(['alpine', 'a-new-one'])).toEqual(upstreamSources);
    expect(repositoriesFor(['constructor'])).toEqual(upstreamSources);
    expect(foldersOf(['constructor'])).toEqual([]);
  });

  it('come from a mirror folder by folder, the others from upstream', () => {
    const mirror = (folder: string) => ({ folder, url: 'https://git.internal/mirror', branch: 'main' });
    const own = [mirror('vuln-list-nvd'), mirror('ghsa'), mirror('of-our-own')];
    const fetched = repositoriesFor(['nvd', 'alpine'], own);
    expect(fetched.map(({ folder, url }) => `${folder} ${url}`)).toEqual([
      'vuln-list https://github.com/aquasecurity/vuln-list',
      'vuln-list-nvd https://git.internal/mirror',
      'of-our-own https://git.internal/mirror',
    ]);
    const all = new Set(repositoriesFor([], own).map(({ folder }) => folder));
    for (const { folder } of foldersOf([])) expect(all, folder).toContain(folder.split('/')[0]);
    expect(all.size).toBe(upstreamSources.length + 1);
  });

  it.each(['a/b', '.', '..', '.git', '', 'a\\b'])('are not fetched to %j, which is no name of a folder', (folder) => {
    expect(mirrors(`${folder}=https://git.internal/x#main`).success).toBe(false);
  });

  it('have one mirror each', () => {
    expect(mirrors('vuln-list=https://a.internal/x#main,ghsa=https://a.internal/y#main').success).toBe(true);
    expect(mirrors('ghsa=https://a.internal/x#main,ghsa=https://b.internal/x#main').success).toBe(false);
  });
});

const mirrors = (text: string) => variables.TRIVY_DB_GIT_SOURCES.schema.safeParse(text);

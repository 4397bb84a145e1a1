/**
 * Where the lists come from. Repositories, branches and folders are those of `db-fetch-langs` and `db-fetch-vuln-list` in the Makefile of
 * github.com/aquasecurity/trivy-db; the order and the folders of the sources are those of `pkg/vulnsrc` there. Both at the pinned version,
 * v0.0.0-20260813095258-0e0340a01b57.
 */

export interface GitSource {
  /** Below the cache folder. */
  readonly folder: string;
  readonly url: string;
  readonly branch: string;
}

const github = (folder: string, repository: string, branch: string): GitSource => ({
  folder,
  url: `https://github.com/${repository}`,
  branch,
});

export const upstreamSources: readonly GitSource[] = [
  github('vuln-list', 'aquasecurity/vuln-list', 'main'),
  github('vuln-list-redhat', 'aquasecurity/vuln-list-redhat', 'main'),
  github('vuln-list-debian', 'aquasecurity/vuln-list-debian', 'main'),
  github('vuln-list-nvd', 'aquasecurity/vuln-list-nvd', 'main'),
  github('vuln-list-aqua', 'aquasecurity/vuln-list-aqua', 'main'),
  github('ruby-advisory-db', 'rubysec/ruby-advisory-db', 'master'),
  github('php-security-advisories', 'FriendsOfPHP/security-advisories', 'master'),
  github('nodejs-security-wg', 'nodejs/security-wg', 'main'),
  github('bitnami-vulndb', 'bitnami/vulndb', 'main'),
  github('ghsa', 'github/advisory-database', 'main'),
  github('govulndb', 'golang/vulndb', 'master'),
  github('cocoapods-specs', 'CocoaPods/Specs', 'master'),
  github('k8s-cve-feed', 'kubernetes-sigs/cve-feed-osv', 'main'),
  github('julia', 'JuliaLang/SecurityAdvisories.jl', 'generated/osv'),
  github('rapidfort-security-advisories', 'rapidfort/security-advisories', 'main'),
];

/** What each source reads, in the order in which trivy-db takes them; it ends with an error when one is missing. */
const foldersBySource: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    nvd: ['vuln-list-nvd/api'],
    alma: ['vuln-list/alma'],
    alpine: ['vuln-list/alpine'],
    redhat: ['vuln-list-redhat/api'],
    'redhat-oval': ['vuln-list-redhat/oval', 'vuln-list-redhat/cpe'],
    debian: ['vuln-list-debian/tracker'],
    ubuntu: ['vuln-list/ubuntu'],
    amazon: ['vuln-list/amazon'],
    'oracle-oval': ['vuln-list/oval/oracle'],
    rocky: ['vuln-list/rocky'],
    'suse-cvrf': ['vuln-list/cvrf/suse/suse'],
    'opensuse-cvrf': ['vuln-list/cvrf/suse/opensuse'],
    photon: ['vuln-list/photon'],
    azure: ['vuln-list/azure'],
    'cbl-mariner': ['vuln-list/mariner'],
    wolfi: ['vuln-list/wolfi'],
    chainguard: ['vuln-list/chainguard'],
    bitnami: ['bitnami-vulndb/data'],
    echo: ['vuln-list/echo'],
    minimos: ['vuln-list/minimos'],
    bottlerocket: ['vuln-list/bottlerocket'],
    rapidfort: ['rapidfort-security-advisories/OS'],
    rootio: ['vuln-list/rootio'],
    seal: ['vuln-list/seal'],
    k8s: ['k8s-cve-feed/vulns'],
    'ruby-advisory-db': ['ruby-advisory-db'],
    'php-security-advisories': ['php-security-advisories'],
    'nodejs-security-wg': ['nodejs-security-wg'],
    ghsa: ['ghsa/advisories/github-reviewed', 'cocoapods-specs/Specs'],
    glad: ['vuln-list/glad'],
    govulndb: ['govulndb/data/osv'],
    julia: ['julia'],
    aqua: ['vuln-list-aqua/vulns'],
  }),
);

/** What trivy-db builds when it is given no `--only-update`, in its order. */
export const defaultSources: readonly string[] = [...foldersBySource.keys()];

/** The folders that the sources read, by source; a source that this version does not know is left to trivy-db to judge. */
export function foldersOf(sources: readonly string[]): readonly { readonly source: string; readonly folder: string }[] {
  return (sources.length === 0 ? defaultSources : sources).flatMap((source) =>
    (foldersBySource.get(source) ?? []).map((folder) => ({ source, folder })),
  );
}

/**
 * The repositories that the sources need; all of them when one is not known here. One of `own` takes the place of the upstream one of its
 * folder, and those of folders that upstream does not have come last. So each list that is read was fetched, however few `own` names.
 */
export function repositoriesFor(sources: readonly string[], own: readonly GitSource[] = []): readonly GitSource[] {
  const isKnown = sources.every((source) => foldersBySource.has(source));
  const needed = new Set(foldersOf(sources).map(({ folder }) => folder.split('/')[0]));
  const ownOf = new Map(own.map((each) => [each.folder, each]));
  const upstream = upstreamSources.filter(({ folder }) => !isKnown || needed.has(folder)).map((each) => ownOf.get(each.folder) ?? each);
  return [...upstream, ...own.filter(({ folder }) => !upstreamSources.some((each) => each.folder === folder))];
}

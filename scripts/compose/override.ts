import { images } from './base-images.ts';

/** With the profile trivy-db. */
export const services = ['pocketbase', 'clamd', 'freshclam', 'scanner', 'console', 'trivy-db'] as const;
export type ServiceName = (typeof services)[number];

interface TestFiles {
  readonly secrets: { readonly folder: string; readonly names: readonly string[] };
  readonly signatures: string;
  /** Vulnerability lists: a folder for each repository. */
  readonly lists: { readonly folder: string; readonly names: readonly string[] };
  /** A root file system to be scanned. */
  readonly rootfs: string;
  /** Whether the image with the tools has a Trivy. */
  readonly hasTrivy: boolean;
}

const TRIVY_DB_FOLDER = '/var/lib/pocketwarden/trivy-db';
const REPOSITORY = 'trivy-db.localhost:8080/trivy-db:2';

/**
 * What the test changes of compose.yaml: images made on this machine, secrets of its own, and test signatures and lists, since nothing
 * reaches the internet. Everything that is under test stays as it is. Of the profile `setup` are the services that put things into
 * volumes, and `test-scan` is somebody's Trivy on the network of the registry.
 */
export function override(files: TestFiles): object {
  const { secrets, signatures, lists, hasTrivy } = files;
  const args = { NODE_IMAGE: images.node, RUNTIME_IMAGE: images.debian, POCKETBASE_IMAGE: images.pocketbase };
  const build = { network: 'host', args: { ...args, TRIVY_TOOLS_IMAGE: images.trivyTools } };
  const secret = (name: string) => ({ file: `${secrets.folder}/${name}` });
  const git = lists.names.map((name) => `${name}=file://${TRIVY_DB_FOLDER}/upstream/${name}#main`);
  return {
    services: {
      pocketbase: { build },
      scanner: { build, environment: { ALLOW_TEST_SIGNATURES: 'true' } },
      clamd: { image: images.clamd },
      freshclam: { image: images.clamd, healthcheck: { test: ['CMD', 'test', '-s', '/var/lib/clamav/pocketwarden-test.ndb'] } },
      'trivy-db': { build, environment: { TRIVY_DB_GIT_SOURCES: git.join(','), ...(hasTrivy ? {} : { TRIVY_BIN: '' }) } },
      'test-signatures': {
        image: images.clamd,
        profiles: ['setup'],
        user: 'clamav',
        network_mode: 'none',
        entrypoint: ['/bin/sh', '-c', 'cp /test-signatures/* /var/lib/clamav/'],
        volumes: ['signatures:/var/lib/clamav', `${signatures}:/test-signatures:ro`],
      },
      'test-lists': listsService(lists),
      'test-scan': scanService(files),
    },
    secrets: Object.fromEntries(secrets.names.map((name) => [name, secret(name)])),
  };
}

/** Makes git repositories of the lists in the volume of the Trivy DB, to be fetched as from anywhere. */
function listsService({ folder, names }: TestFiles['lists']) {
  const commit = 'git add . && git -c user.name=test -c user.email=test@example.invalid commit --quiet --message lists';
  // Compose reads a single dollar as a variable of its own.
  const each = `cp -r /test-lists/$$name/. $$name && cd $$name && git init --quiet --initial-branch main && ${commit} && cd ..`;
  const script = `mkdir upstream && cd upstream && for name in ${names.join(' ')}; do mkdir $$name && ${each} || exit 1; done`;
  return {
    image: 'pocketwarden/trivy-db:0.1.0',
    profiles: ['setup'],
    network_mode: 'none',
    working_dir: TRIVY_DB_FOLDER,
    entrypoint: ['/bin/sh', '-c', script],
    volumes: [`trivy_db:${TRIVY_DB_FOLDER}`, `${folder}:/test-lists:ro`],
  };
}

/** Without --insecure: the name ends as one that Trivy asks by plain HTTP. */
function scanService({ rootfs }: TestFiles) {
  return {
    image: 'pocketwarden/trivy-db:0.1.0',
    profiles: ['scan'],
    networks: ['operate'],
    read_only: true,
    cap_drop: ['ALL'],
    tmpfs: ['/tmp:size=256m,mode=1777'],
    environment: { TRIVY_SKIP_VERSION_CHECK: 'true', TRIVY_DISABLE_TELEMETRY: 'true' },
    entrypoint: ['trivy', 'rootfs', '--scanners', 'vuln', '--format', 'json', '--db-repository', REPOSITORY, '/rootfs'],
    volumes: [`${rootfs}:/rootfs:ro`],
  };
}

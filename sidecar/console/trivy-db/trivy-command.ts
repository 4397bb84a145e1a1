/** The command line that makes a Trivy scan with the database of this registry. */

export interface TrivyCommand {
  /** `host:port/trivy-db:2`, as `--db-repository` and TRIVY_DB_REPOSITORY take it. */
  readonly repository: string;
  readonly command: string;
  /** How Trivy will speak to this address: by TLS; without, because of the kind of address; or only when `--insecure` allows it. */
  readonly transport: 'tls' | 'plain' | 'plain-insecure';
  /** Nobody said under which address other machines reach us. */
  readonly isGuess: boolean;
}

const AUTHORITY = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i;

/**
 * `publicUrl` is where Trivy reaches the registry; without it the `Host` of the request is the best guess, if it is one. The rules for
 * plain HTTP are those of `Registry.Scheme` in google/go-containerregistry, which Trivy uses; observed in trivy-observed.md section 3.
 */
export function trivyCommand(publicUrl: string | null, requestHost: string | null, needsLogin: boolean): TrivyCommand {
  const known = publicUrl === null ? null : new URL(publicUrl);
  const host = known?.host ?? (requestHost !== null && AUTHORITY.test(requestHost) ? requestHost : 'HOST:8080');
  const isTls = known?.protocol === 'https:';
  const authority = isTls ? host : withPort(host);
  const repository = `${authority}/trivy-db:2`;
  const transport = isTls ? 'tls' : mayBePlain(authority) ? 'plain' : 'plain-insecure';
  const words = [
    ...(needsLogin ? ['TRIVY_USERNAME=…', 'TRIVY_PASSWORD=…'] : []),
    'trivy image --db-repository',
    repository,
    ...(transport === 'plain-insecure' ? ['--insecure'] : []),
    'alpine:3.20',
  ];
  return { repository, command: words.join(' '), transport, isGuess: known === null };
}

/** A name without a dot or a port would be taken for a repository of Docker Hub, and `localhost` alone for one with TLS. */
function withPort(host: string): string {
  return /:\d+$/.test(host) ? host : `${host}:80`;
}

function mayBePlain(authority: string): boolean {
  const host = authority.replace(/:\d+$/, '').toLowerCase();
  if (host === 'localhost' || host === '127.0.0.1' || host === '[::1]' || /\.local(?:host)?$/.test(host)) return true;
  const [first = -1, second = -1] = /^\d+\.\d+\.\d+\.\d+$/.test(host) ? host.split('.').map(Number) : [];
  return first === 10 || (first === 172 && second >= 16 && second <= 31) || (first === 192 && second === 168);
}

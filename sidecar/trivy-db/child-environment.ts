/** What the programs of a build see of our environment: never a secret of ours. */
import { env } from 'node:process';

const passed = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR', 'LANG', 'LC_ALL', 'TZ', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'SSH_AUTH_SOCK'],
  ...['XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'],
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY', 'GIT_SSH_COMMAND', 'GIT_SSL_CAINFO', 'GIT_CONFIG_GLOBAL'],
]);

const passedToGo = new Set([
  ...['GOPATH', 'GOCACHE', 'GOMODCACHE', 'GOTMPDIR', 'GOENV', 'GOPROXY', 'GONOPROXY', 'GOSUMDB', 'GONOSUMDB', 'GOPRIVATE', 'GOINSECURE'],
  ...['GOVCS', 'GOAUTH', 'NETRC'],
]);

/** Paths, locale, proxies and certificates, with `more` on top. */
export function childEnvironment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { ...kept(passed), ...more };
}

/** For Go, which builds tools: also where it keeps things, and where modules come from. */
export function goEnvironment(): Record<string, string> {
  return { ...childEnvironment(), ...kept(passedToGo) };
}

function kept(names: ReadonlySet<string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && names.has(entry[0])),
  );
}

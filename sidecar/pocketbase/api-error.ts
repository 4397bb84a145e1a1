/** What PocketBase or the way to it answered, as sentences and as codes of the domain. */
import { ClientResponseError } from 'pocketbase';
import { ScanError } from '../scan/errors.ts';
import type { SessionOptions } from './session.ts';

export const HOOKS_MISSING =
  'the hooks are not loaded in PocketBase: mount build/pb_hooks and build/pb_migrations, start it with --hooksWatch=false and look at its log';

/** A failed call to one of our routes. Only what PocketBase itself calls malformed is our own fault and not worth repeating. */
export function apiError(thrown: unknown, what: string): ScanError {
  if (thrown instanceof ScanError) return thrown;
  if (!(thrown instanceof ClientResponseError)) return ScanError.from(thrown);
  const { status } = thrown;
  const options = { cause: thrown };
  if (status === 0) return new ScanError('store-unavailable', unreachable(thrown), options);
  if (status === 404) return new ScanError('store-unavailable', HOOKS_MISSING, options);
  if (status === 401) return new ScanError('store-unavailable', `PocketBase does not accept its own token for ${what}`, options);
  if (status === 403) return new ScanError('store-unavailable', FORBIDDEN, options);
  if (status === 429 || status >= 500) return new ScanError('store-unavailable', `PocketBase answered ${status} to ${what}`, options);
  return new ScanError('unexpected', `PocketBase answered ${status} to ${what}: ${serverSays(thrown)}`, options);
}

const FORBIDDEN =
  'PocketBase refuses this login from this address: add the address of the sidecar to the superuser IPs in the settings of PocketBase';

/** Why the login failed and what to do about it. */
export function loginProblem(thrown: unknown, url: string, login: Required<Pick<SessionOptions, 'collection' | 'email'>>): string {
  const { collection, email } = login;
  const isAgent = collection === 'av_agents';
  if (thrown instanceof ScanError) return thrown.message;
  if (!(thrown instanceof ClientResponseError)) return `the login at PocketBase failed: ${String(thrown)}`;
  switch (thrown.status) {
    case 0:
      return `PocketBase at ${url} ${unreachable(thrown).replace(/^PocketBase /, '')}`;
    case 400:
      return isAgent
        ? `PocketBase refused the e-mail or the password of the agent ${email}: check POCKETBASE_AGENT_EMAIL and POCKETBASE_AGENT_PASSWORD, or create it with: pocketbase av-agent`
        : `PocketBase refused the e-mail or the password of the superuser ${email}: check POCKETBASE_SUPERUSER_EMAIL and POCKETBASE_SUPERUSER_PASSWORD`;
    case 401:
      return typeof thrown.response.mfaId === 'string'
        ? `multi-factor login is on, and the sidecar cannot answer it: switch off MFA and OTP in the options of the ${collection} collection`
        : `PocketBase refused the login of ${email}: ${serverSays(thrown)}`;
    case 403:
      return FORBIDDEN;
    case 404:
      return isAgent
        ? `PocketBase at ${url} has no collection av_agents: apply the migrations of Pocketwarden, and check POCKETBASE_URL`
        : `there is no PocketBase at ${url}: check POCKETBASE_URL`;
    case 429:
      return 'PocketBase limits the rate of logins; trying again later';
    default:
      return `PocketBase answered ${thrown.status} to the login: ${serverSays(thrown)}`;
  }
}

function unreachable(thrown: ClientResponseError): string {
  const error = thrown.originalError as { message?: string; cause?: { code?: string; message?: string } } | undefined;
  const why = error?.cause?.code ?? error?.cause?.message ?? error?.message ?? 'no answer';
  return `PocketBase cannot be reached (${why})`;
}

function serverSays(thrown: ClientResponseError): string {
  const details = JSON.stringify(thrown.response.data ?? {});
  return `${String(thrown.response.message ?? 'no message')} ${details === '{}' ? '' : details}`.trim().slice(0, 300);
}

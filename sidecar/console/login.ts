/** `/login` and `/logout`. Works without scripts. */
import type { Context, Hono } from 'hono';
import { html } from 'hono/html';
import type { ConsoleAccess } from '../http/access.ts';
import { LoginThrottle, type ThrottleLimits } from '../http/login-throttle.ts';
import { localPath, originOf } from '../http/same-origin.ts';
import type { LoginAnswer, Superusers } from '../http/superuser-check.ts';
import type { AccessEvents, LoginResult } from '../telemetry/access-events.ts';
import type { ConsoleEnv, Html, Page } from './console-env.ts';
import { duration } from './format.ts';
import { shape } from './shapes.ts';

export interface LoginParts {
  readonly access: ConsoleAccess;
  readonly events: AccessEvents;
  readonly publicUrl: string | null;
  /** Whether OPERATOR_TOKEN is set, so that it can be offered. */
  readonly hasOperatorToken: boolean;
  readonly limits?: ThrottleLimits;
  /** The frame without an operator. */
  render(page: Page): Html;
}

interface Form {
  readonly to: string;
  readonly email: string;
  readonly problem: string | null;
}

interface Failure {
  readonly status: 400 | 401 | 403 | 429 | 503;
  readonly result: Exclude<LoginResult, 'ok'>;
  readonly problem: string;
}

/** The same words for an unknown e-mail and a wrong password. */
const WRONG = 'The e-mail, the password or the token is wrong.';
const MFA =
  'This superuser has a second factor, which this page cannot ask for. Log in with OPERATOR_TOKEN, or as a superuser without MFA.';
const NOT_HERE =
  'PocketBase does not take logins from this address or by password. Add the address of the console to the superuser IPs in its settings, and allow identity and password for _superusers.';
const LIMITED = 'PocketBase limits the rate of logins. Wait a minute, then try again.';

/** The routes for whoever is not logged in. */
export function addLogin(app: Hono<ConsoleEnv>, parts: LoginParts): void {
  const throttle = new LoginThrottle(parts.limits);
  app.get('/login', async (c) => {
    const to = localPath(c.req.query('to'));
    // Whom a proxy or the operator token lets in may log in as somebody who may more.
    if ((await parts.access.identify(c))?.operator.via === 'superuser') return c.redirect(to, 303);
    const problem = c.req.query('ended') === undefined ? null : 'Your session has ended. Log in again.';
    return c.html(parts.render(loginPage({ to, email: '', problem }, parts)));
  });
  app.post('/login', async (c) => {
    if (originOf(c, parts.publicUrl) === 'foreign')
      return c.html(parts.render(loginPage({ to: '/', email: '', problem: 'Another site sent this form. Log in here.' }, parts)), 403);
    return await logIn(c, parts, throttle);
  });
}

/** For whoever is logged in; the guard has checked the token of the form. */
export function addLogout(app: Hono<ConsoleEnv>, { access, events }: Pick<LoginParts, 'access' | 'events'>): void {
  app.post('/logout', async (c) => {
    events.loggedOut(c.get('operator').name);
    await access.end(c);
    c.header('Clear-Site-Data', '"cache"');
    return c.redirect('/login', 303);
  });
}

async function logIn(c: Context<ConsoleEnv>, parts: LoginParts, throttle: LoginThrottle): Promise<Response> {
  const { access, events } = parts;
  const body = await c.req.parseBody().catch(() => ({}) as Record<string, unknown>);
  const field = (name: string) => (typeof body[name] === 'string' ? body[name].slice(0, 1000) : '');
  const [email, password, token, to] = [field('email').trim(), field('password'), field('token').trim(), localPath(field('to'))];
  const account = token === '' ? email : null;
  const attempt = { account: (account ?? 'OPERATOR_TOKEN').slice(0, 200), address: access.addressOf(c) };
  const fail = async ({ status, result, problem }: Failure) => {
    events.loginFailed(attempt, result, problem);
    return c.html(parts.render(loginPage({ to, email, problem }, parts)), status);
  };
  if (token === '' && (email === '' || password === ''))
    return c.html(parts.render(loginPage({ to, email, problem: 'Enter an e-mail and a password, or the operator token.' }, parts)), 400);
  const wait = await throttle.begin(attempt.address, account);
  if (wait !== null) {
    c.header('Retry-After', String(wait));
    return await fail({ status: 429, result: 'throttled', problem: `Too many failed logins. Try again in ${duration(wait * 1000)}.` });
  }
  const answer = await judged(access, email, password, token);
  if (answer.kind !== 'ok') {
    if (answer.kind !== 'refused') await throttle.takeBack(attempt.address, account, false);
    return await fail(failureOf(answer));
  }
  await throttle.takeBack(attempt.address, account, true);
  await access.begin(c, { name: answer.name, via: token === '' ? 'superuser' : 'token', pocketbaseToken: answer.token });
  events.loggedIn(attempt);
  return c.redirect(to, 303);
}

type Judged = Exclude<LoginAnswer, { kind: 'ok' }> | { readonly kind: 'ok'; readonly name: string; readonly token: string | null };

async function judged(access: ConsoleAccess, email: string, password: string, token: string): Promise<Judged> {
  if (token !== '') return access.isOperatorToken(token) ? { kind: 'ok', name: 'operator', token: null } : { kind: 'refused' };
  const superusers: Superusers | null = access.superusers;
  return superusers === null ? { kind: 'refused' } : await superusers.logIn(email, password);
}

function failureOf(answer: Exclude<LoginAnswer, { kind: 'ok' }>): Failure {
  switch (answer.kind) {
    case 'refused':
      return { status: 401, result: 'refused', problem: WRONG };
    case 'mfa':
      return { status: 403, result: 'refused', problem: MFA };
    case 'address':
      return { status: 403, result: 'unavailable', problem: NOT_HERE };
    case 'limited':
      return { status: 503, result: 'unavailable', problem: LIMITED };
    case 'unreachable':
      return {
        status: 503,
        result: 'unavailable',
        problem: `Nobody can log in as a superuser now: ${answer.why}. Start it, then try again.`,
      };
    default:
      return answer satisfies never;
  }
}

function loginPage({ to, email, problem }: Form, { hasOperatorToken }: LoginParts): Page {
  return {
    title: 'Log in',
    section: null,
    body: html`<div class="login card">
<h1>Log in</h1>
<p class="muted">As a superuser of PocketBase you may read and decide.${hasOperatorToken ? ' With the operator token you may read, and operate the Trivy DB.' : ''}</p>
${problem === null ? '' : html`<p class="notice bad" role="alert">${shape('bad')}<span>${problem}</span></p>`}
<form method="post" action="/login">
<input type="hidden" name="to" value="${to}">
<p class="field"><label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="username" value="${email}"${problem === null ? html` autofocus` : ''} maxlength="300"></p>
<p class="field"><label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password"${problem !== null && email !== '' ? html` autofocus` : ''} maxlength="1000"></p>
<p><button type="submit" class="button primary">Log in</button></p>
</form>
${hasOperatorToken ? tokenForm(to) : ''}</div>`,
  };
}

function tokenForm(to: string): Html {
  return html`<details><summary>Log in with the operator token</summary>
<form method="post" action="/login">
<input type="hidden" name="to" value="${to}">
<p class="field"><label for="token">Operator token</label><input id="token" name="token" type="password" autocomplete="off" maxlength="1000" required></p>
<p><button type="submit" class="button">Log in with the token</button></p>
</form></details>
`;
}

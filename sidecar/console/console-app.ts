/** All pages behind one guard, each in the frame. */
import { Hono } from 'hono';
import { html } from 'hono/html';
import type { ConsoleAccess } from '../http/access.ts';
import type { ServerEnv } from '../roles/role.ts';
import type { AccessEvents } from '../telemetry/access-events.ts';
import type { Assets } from './assets.ts';
import { failedOf } from './attention.ts';
import type { ConsoleEnv, LiveSource, Page } from './console-env.ts';
import { formLimit, pageGuard, pageHeaders, type Viewer } from './csrf.ts';
import { framed, type Tab } from './frame.ts';
import { LiveEvents } from './live-events.ts';
import { addLogin, addLogout, type LoginParts } from './login.ts';
import { bannerOf, type Known, type Overview } from './overview.ts';

/** A group of pages. */
export interface ConsolePart {
  addTo(app: Hono<ConsoleEnv>): void;
  readonly live: readonly LiveSource[];
}

export interface ConsoleAppParts {
  readonly access: ConsoleAccess;
  readonly events: AccessEvents;
  readonly assets: Assets;
  readonly overview: Overview;
  readonly pages: readonly ConsolePart[];
  /** Of those that are there, in their order. */
  readonly sections: readonly Pick<Tab, 'section' | 'label' | 'href'>[];
  readonly publicUrl: string | null;
  readonly hasOperatorToken: boolean;
  readonly limits?: LoginParts['limits'];
  requestFailed(path: string, thrown: unknown): void;
}

/** Ours alone: whatever else the process serves keeps its own rules. */
const GUARDED = ['/', '/checks/*', '/trivy-db/*', '/deliveries/*', '/events', '/logout'];

export function createConsoleApp(parts: ConsoleAppParts): { readonly routes: Hono<ServerEnv>; stop(): void } {
  const { access, events, assets, overview, pages } = parts;
  const app = new Hono<ConsoleEnv>();
  const render = async (page: Page, viewer: Viewer) => {
    const known = await overview.known();
    const tabs = parts.sections.map((each) => tabOf(each, known));
    return framed(page, { ...viewer, tabs, banner: bannerOf(known), asset: assets.address });
  };
  const renderBare = (page: Page) => framed(page, { operator: null, csrf: null, tabs: [], banner: null, asset: assets.address });
  for (const path of [...GUARDED, '/login']) app.use(path, pageHeaders, formLimit);
  const { publicUrl, hasOperatorToken, limits } = parts;
  addLogin(app, { access, events, publicUrl, hasOperatorToken, render: renderBare, ...(limits === undefined ? {} : { limits }) });
  for (const path of GUARDED) app.use(path, pageGuard(access, render));
  addLogout(app, { access, events });
  assets.addTo(app);
  overview.addTo(app);
  for (const part of pages) part.addTo(app);
  const live = new LiveEvents([overview.live, ...pages.flatMap((part) => part.live)]);
  live.addTo(app);
  for (const path of ['/checks/*', '/trivy-db/*', '/deliveries/*']) app.all(path, (c) => c.var.show(nothingHere, 404));
  app.onError(async (thrown, c) => {
    parts.requestFailed(c.req.path, thrown);
    // Before the guard has let somebody in there is no frame to show.
    return (
      (await c
        .get('show')?.(failed, 500)
        .catch(() => null)) ?? c.text(FAILED, 500)
    );
  });
  // Hono knows the variables of our own pages; the server knows of none.
  return { routes: app as unknown as Hono<ServerEnv>, stop: () => live.stop() };
}

const FAILED = 'The console failed to show this page; its log says why.';
const failed: Page = {
  title: 'Failed',
  section: null,
  body: html`<h1>This page failed</h1><p>${FAILED} Load it again, or go to the <a href="/">overview</a>.</p>`,
};
const nothingHere: Page = {
  title: 'Nothing here',
  section: null,
  body: html`<h1>There is nothing here</h1><p>Perhaps it was deleted since. Go on to the <a href="/">overview</a>.</p>`,
};

function tabOf(tab: Pick<Tab, 'section' | 'label' | 'href'>, { facts, lines }: Known): Tab {
  if (tab.section === 'checks') {
    const { health } = facts.store;
    return { ...tab, toLookAt: (health === null ? 0 : failedOf(health)) + (facts.infectedLately ?? 0) };
  }
  const told = lines.find((line) => line.tab?.section === tab.section)?.tab;
  return { ...tab, toLookAt: told?.toLookAt ?? 0, isBusy: told?.isBusy ?? false };
}

/** Uploads and changes builds as planned. An answer that does not come is noted as such and not asked for again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type Client from 'pocketbase';
import { ClientResponseError } from 'pocketbase';
import { contentOf, digestOf } from './content.ts';
import type { Change, KnownBuild, Ledger } from './ledger.ts';
import type { PlannedFile, Step } from './plan.ts';

type Changing = Exclude<Step, { kind: 'create' }>;

export async function write(client: Client, ledger: Ledger, round: number, steps: readonly Step[]): Promise<void> {
  const mine: KnownBuild[] = [];
  for (const step of steps) {
    await sleep(step.pauseMs);
    if (step.kind === 'create') {
      const build = ledger.begin(step.id, round);
      mine.push(build);
      ledger.counts.uploads++;
      const form = formOf(ledger, step.files, 'files');
      form.append('id', step.id);
      await send(ledger, build, [], () => client.collection('app_builds').create(form));
      continue;
    }
    const acked = mine.filter((build) => build.isAcked && !build.isDeletionSent);
    const build = acked[Math.floor(step.which * acked.length)];
    if (build === undefined) continue;
    ledger.counts.changes++;
    await change(client, ledger, build, step);
  }
}

async function change(client: Client, ledger: Ledger, build: KnownBuild, step: Changing): Promise<void> {
  const builds = client.collection('app_builds');
  const first = build.files[0];
  switch (step.kind) {
    case 'delete':
      build.isDeletionSent = true;
      await send(ledger, build, [], () => builds.delete(build.id).then(() => ({ files: [] })));
      return;
    case 'remove':
      if (first === undefined) return;
      return send(ledger, build, [first], () => builds.update(build.id, { 'files-': [first] }));
    case 'add':
      return send(ledger, build, [], () => builds.update(build.id, formOf(ledger, step.files, 'files+')));
    case 'replace': {
      const form = formOf(ledger, step.files, 'files+');
      for (const name of build.files) form.append('files-', name);
      return send(ledger, build, build.files, () => builds.update(build.id, form));
    }
    default:
      step satisfies never;
  }
}

async function send(ledger: Ledger, build: KnownBuild, removed: readonly string[], call: () => Promise<object>): Promise<void> {
  const noted: Change = { sentAt: Date.now(), ackedAt: Number.POSITIVE_INFINITY, added: [], removed };
  build.changes.push(noted);
  try {
    const { files } = (await call()) as { files: string[] };
    noted.ackedAt = Date.now();
    noted.added.push(...files.filter((name) => !build.files.includes(name)));
    build.files = files;
    build.isAcked = true;
  } catch (thrown) {
    // Cut off or failed, PocketBase may have stored it: the database tells in the end.
    ledger.counts.unanswered++;
    const status = thrown instanceof ClientResponseError ? thrown.status : 0;
    if (status >= 400 && status < 500) ledger.refusals.push(`a change of ${build.id} was answered with ${status}: ${String(thrown)}`);
  }
}

function formOf(ledger: Ledger, files: readonly PlannedFile[], field: string): FormData {
  const form = new FormData();
  for (const file of files) {
    const bytes = contentOf(file);
    ledger.digests.set(file.name, digestOf(bytes));
    form.append(field, new Blob([bytes]), file.name);
  }
  return form;
}

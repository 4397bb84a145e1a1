/** A superuser releases an infected build at the console. */
import type PocketBase from 'pocketbase';
import { uploadInfected } from './client.ts';
import type { ConsoleSession } from './console.ts';

const REASON = 'a test file, see the test of compose.yaml';

/** Throws unless it can be downloaded afterwards and stands in the history with who and why. */
export async function releaseAndExpectRecord(client: PocketBase, session: ConsoleSession, email: string): Promise<void> {
  const build = await uploadInfected(client);
  const check = await client.collection('av_build_checks').getFirstListItem(client.filter('build = {:id}', build));
  const question = await session.open(`/checks/confirm?do=release&id=${check.id}`);
  const done = await session.submit(question, '/checks/actions', { reason: REASON });
  if (!done.words.includes('1 released')) throw new Error(`the release was answered ${done.status}: ${done.words.slice(0, 500)}`);
  const answer = await fetch(build.url);
  await answer.arrayBuffer();
  if (answer.status !== 200) throw new Error(`the download of the released build was answered ${answer.status}`);
  const { items } = await client.collection('av_scan_history').getList(1, 20, { sort: '-seq' });
  const entries = items.map(({ entry }) => JSON.parse(entry as string) as Record<string, unknown>);
  const found = entries.find((entry) => entry['event'] === 'released' && entry['check'] === check.id);
  if (found?.['by'] !== email || found['note'] !== REASON) throw new Error(`the history says ${JSON.stringify(found ?? entries)}`);
}

import { randomBytes } from 'node:crypto';
import PocketBase from 'pocketbase';
import { eicar } from '../../sidecar/clamd/eicar.ts';
import { eventually } from '../../test/harness/eventually.ts';

const VERDICT_MS = 60_000;

/** Uploads a clean and an infected build and follows both to their verdict and through the gate; throws with what went wrong. */
export async function uploadAndExpectVerdicts(client: PocketBase): Promise<void> {
  const clean = await upload(client, 'clean.bin', randomBytes(4096));
  await Promise.all([expectVerdict(client, clean, 'clean', 200), uploadInfected(client)]);
}

/** Logs in as superuser; the token is the client's only way in from then on. */
export async function login(url: string, email: string, password: string): Promise<PocketBase> {
  const client = new PocketBase(url).autoCancellation(false);
  await eventually('the superuser can log in', () => client.collection('_superusers').authWithPassword(email, password), 20_000);
  return client;
}

/** Uploads an infected build and resolves when it was found and is closed. */
export async function uploadInfected(client: PocketBase): Promise<Upload> {
  const infected = await upload(client, 'eicar.com', eicar());
  await expectVerdict(client, infected, 'infected', 404);
  return infected;
}

interface Upload {
  readonly id: string;
  readonly url: string;
}

async function upload(client: PocketBase, name: string, bytes: Buffer): Promise<Upload> {
  const record = await client.collection('app_builds').create({ app: 'test', files: [new File([new Uint8Array(bytes)], name)] });
  return { id: record.id, url: client.files.getURL(record, record.files[0]) };
}

async function expectVerdict(client: PocketBase, { id, url }: Upload, expected: string, status: number): Promise<void> {
  const checks = client.collection('av_build_checks');
  const filter = client.filter('build = {:id}', { id });
  await eventually(
    `the check of ${id} is ${expected}`,
    async () => (await checks.getFirstListItem(filter)).status === expected,
    VERDICT_MS,
  );
  const answer = await fetch(url);
  await answer.arrayBuffer();
  if (answer.status !== status) throw new Error(`the download of a build that is ${expected} was answered ${answer.status}, not ${status}`);
}

import { describe } from 'vitest';
import { buildStoreContract } from '../../test/contract/build-store.ts';
import { checkQueueContract } from '../../test/contract/check-queue.ts';
import { voidsContract } from '../../test/contract/voids.ts';
import { FakeQueue, FakeStore, FakeVoids } from './fakes.ts';
import type { Check } from './model.ts';

describe('FakeStore', () => {
  const store = new FakeStore();
  let builds = 0;
  buildStoreContract(() => ({
    store,
    async claimed(contents) {
      const id = `check-${builds++}`;
      const files = contents.map((bytes, at) => ({ name: `${id}-${at}`, size: 0, bytes }));
      for (const file of files) store.files.set(file.name, file.bytes);
      const lease = { id, token: 'token' };
      return { id, build: id, attempts: 0, suspect: false, rescan: false, lease, waitedSeconds: 0, files } satisfies Check;
    },
    async lose(_check, file) {
      store.files.delete(file.name);
    },
  }));
});

describe('FakeQueue', () => {
  const queue = new FakeQueue();
  let checks = 0;
  checkQueueContract(() => ({
    queue,
    async add(count) {
      const ids = Array.from({ length: count }, () => `check-${checks++}`);
      for (const id of ids) queue.add(id, [{ name: 'file', size: 0 }]);
      return ids;
    },
    async steal(check) {
      queue.steal(check.id);
    },
    async isSettled(id) {
      return queue.statusOf(id) === 'settled';
    },
  }));
});

describe('FakeVoids', () => {
  const voids = new FakeVoids();
  voidsContract(() => ({
    voids,
    judged: async (...verdict) => voids.judged(...verdict),
    stands: async (build) => voids.stands(build),
  }));
});

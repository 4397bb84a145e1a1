import { defineConfig } from 'vitest/config';

const real = { globalSetup: ['test/harness/global-setup.ts'], testTimeout: 60_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['sidecar/**/*.test.ts', 'pb_hooks/**/*.test.ts', 'scripts/**/*.test.ts'] } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...real } },
      { test: { name: 'fault', include: ['test/fault/**/*.test.ts'], ...real } },
      { test: { name: 'browser', include: ['test/browser/**/*.test.ts'], ...real } },
      { test: { name: 'trivy', include: ['test/trivy/**/*.test.ts'], ...real } },
    ],
  },
});

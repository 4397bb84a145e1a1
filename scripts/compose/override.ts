import { images } from './base-images.ts';

export const services = ['pocketbase', 'clamd', 'freshclam', 'scanner'] as const;
export type ServiceName = (typeof services)[number];

/**
 * What the test changes of compose.yaml: images made on this machine, secrets of its own, and test signatures, since freshclam
 * reaches nothing. Everything that is under test stays as it is.
 */
export function override(secrets: string, signatures: string): object {
  const build = { network: 'host', args: { NODE_IMAGE: images.node, RUNTIME_IMAGE: images.debian, POCKETBASE_IMAGE: images.pocketbase } };
  const secret = (name: string) => ({ file: `${secrets}/${name}` });
  return {
    services: {
      pocketbase: { build },
      scanner: { build, environment: { ALLOW_TEST_SIGNATURES: 'true' } },
      clamd: { image: images.clamd },
      freshclam: { image: images.clamd, healthcheck: { test: ['CMD', 'test', '-s', '/var/lib/clamav/pocketwarden-test.ndb'] } },
      'test-signatures': {
        image: images.clamd,
        profiles: ['setup'],
        user: 'clamav',
        network_mode: 'none',
        entrypoint: ['/bin/sh', '-c', 'cp /test-signatures/* /var/lib/clamav/'],
        volumes: ['signatures:/var/lib/clamav', `${signatures}:/test-signatures:ro`],
      },
    },
    secrets: Object.fromEntries(['superuser_password', 'av_notify_secret', 'av_history_key'].map((name) => [name, secret(name)])),
  };
}

import { describe, expect, it } from 'vitest';
import { trivyCommand } from './trivy-command.ts';

describe('the command line', () => {
  it.each([
    ['https://pw.example.com', 'pw.example.com/trivy-db:2', 'tls'],
    ['https://pw.example.com:8443/console/', 'pw.example.com:8443/trivy-db:2', 'tls'],
    ['http://pw.example.com:8080', 'pw.example.com:8080/trivy-db:2', 'plain-insecure'],
    ['http://pw', 'pw:80/trivy-db:2', 'plain-insecure'],
    ['http://localhost:8080', 'localhost:8080/trivy-db:2', 'plain'],
    ['http://trivy-db.localhost:8080', 'trivy-db.localhost:8080/trivy-db:2', 'plain'],
    ['http://127.0.0.1:8080', '127.0.0.1:8080/trivy-db:2', 'plain'],
    ['http://10.1.2.3:8080', '10.1.2.3:8080/trivy-db:2', 'plain'],
    ['http://172.16.0.1:8080', '172.16.0.1:8080/trivy-db:2', 'plain'],
    ['http://172.32.0.1:8080', '172.32.0.1:8080/trivy-db:2', 'plain-insecure'],
    ['http://192.168.1.5', '192.168.1.5:80/trivy-db:2', 'plain'],
    ['http://8.8.8.8:8080', '8.8.8.8:8080/trivy-db:2', 'plain-insecure'],
    ['http://10.evil.example:8080', '10.evil.example:8080/trivy-db:2', 'plain-insecure'],
  ])('for %s names %s and says %s', (publicUrl, repository, transport) => {
    const made = trivyCommand(publicUrl, 'ignored:1', false);
    expect(made).toMatchObject({ repository, transport, isGuess: false });
    expect(made.command).toBe(
      `trivy image --db-repository ${repository}${transport === 'plain-insecure' ? ' --insecure' : ''} alpine:3.20`,
    );
  });

  it('guesses by the Host of the request, and says so', () => {
    expect(trivyCommand(null, '10.0.0.7:8080', false)).toMatchObject({ repository: '10.0.0.7:8080/trivy-db:2', isGuess: true });
    expect(trivyCommand(null, '[::1]:8080', false)).toMatchObject({ repository: '[::1]:8080/trivy-db:2', transport: 'plain' });
  });

  it.each(['a;rm -rf /', '$(id):80', 'a b', '`id`', '', '-x', 'a/b', 'x\nid'])('never repeats a Host that is none: %j', (host) => {
    expect(trivyCommand(null, host, false).repository).toBe('HOST:8080/trivy-db:2');
  });

  it('asks for the login of the registry where there is one', () => {
    expect(trivyCommand('https://pw.example.com', null, true).command).toMatch(/^TRIVY_USERNAME=… TRIVY_PASSWORD=… trivy image /);
  });
});

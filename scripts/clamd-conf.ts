/** What differs from one clamd to the next; everything else is the shared body, deploy/clamd/clamd.conf. */
export interface ClamdSite {
  readonly port: number;
  /** Default 127.0.0.1: clamd knows no authentication, so it must never listen where others reach it. */
  readonly address?: string;
  readonly databaseDirectory: string;
  readonly temporaryDirectory: string;
  /** Whoever runs it: clamd ends at once when it is root and cannot become this user. */
  readonly user: string;
  /** Absent: clamd in the foreground writes its log to stdout. */
  readonly logFile?: string;
  /** Any directive; wins over the shared body. */
  readonly overrides?: Readonly<Record<string, string>>;
}

/**
 * A complete clamd.conf: generated site lines in front of the shared body. clamd has no include directive, and of two equal
 * directives the first one wins, so the order is what makes the overrides work.
 */
export function clamdConf(site: ClamdSite, body: string): string {
  const lines: Record<string, string> = {
    ...site.overrides,
    TCPSocket: String(site.port),
    TCPAddr: site.address ?? '127.0.0.1',
    DatabaseDirectory: site.databaseDirectory,
    TemporaryDirectory: site.temporaryDirectory,
    User: site.user,
    ...(site.logFile === undefined ? {} : { LogFile: site.logFile }),
  };
  const generated = Object.entries(lines).map(([name, value]) => directive(name, value));
  return ['# Generated: lines of this site, then the shared body. The first of two equal directives wins.', ...generated, '', body].join(
    '\n',
  );
}

function directive(name: string, value: string): string {
  if (!/^[A-Za-z0-9]+$/.test(name) || !/^[^\r\n]+$/.test(value))
    throw new Error(`not a clamd directive: ${JSON.stringify(`${name} ${value}`)}`);
  return `${name} ${value}`;
}

/**
 * Every code that may stand in `av_build_checks.reason`, with what it means and what to do about it.
 * The documentation and the pages show these sentences; nothing else is ever stored there.
 */
export const reasons = {
  'no-files': ['The build has no files.', 'Upload files to it, or delete it.'],
  probe: [
    'The probe of the gate: it is never judged and never opens, and the console tries every minute to get its file as anybody could.',
    'Leave it. To be rid of it, set GATE_PROBE_BUILD=false and delete it.',
  ],
  'engine-reply': [
    'The engine stopped, or answered nonsense, while it looked at this build.',
    'Look at the log of clamd, then scan it again.',
  ],
  download: ['PocketBase did not deliver the files whole.', 'Look at the log of PocketBase and at its storage, then scan it again.'],
  'download:missing': [
    'A file that the build lists is not in the storage.',
    'Restore the storage from a backup, or upload the file again.',
  ],
  'lease-expired': [
    'The scan of this build ended several times without a word: the sidecar died or hung on it.',
    'Look at the log of the sidecar, then scan it again.',
  ],
  unexpected: ['The scan failed for a reason nobody foresaw.', 'Look at the log of the sidecar; its stack trace belongs in a bug report.'],
  'unscannable:too-large': ['A file, or what it unpacks to, is larger than the engine can judge.', 'Split it into smaller files.'],
  'unscannable:too-deep': ['Archives are nested deeper than the engine follows.', 'Upload the inner archive itself.'],
  'unscannable:too-many-files': ['An archive holds more members than the engine counts.', 'Split it into several archives.'],
  'unscannable:too-slow': ['The engine ran out of the time it may spend on one file.', 'Split the file, or raise MaxScanTime.'],
  'unscannable:limits': ['A limit of the engine was reached before it had seen everything.', 'Split the file.'],
  'unscannable:encrypted': ['The engine cannot look inside encrypted content.', 'Upload it without a password.'],
  'unscannable:damaged': [
    'The file, or something in it, is cut short or damaged, so the engine saw only a part of it.',
    'Upload it again from the original.',
  ],
  'unscannable:zip-method': ['A zip member is compressed by a method that the engine does not unpack.', 'Pack it again with deflate.'],
  'unscannable:zip64': ['The zip archive uses 64-bit sizes, which the engine does not follow.', 'Pack it as tar.gz, or without zip64.'],
  'unscannable:7z-method': ['The 7z archive is compressed by a method that the engine does not unpack.', 'Pack it again with LZMA2.'],
  'unscannable:tar-form': [
    'The tar archive says which bytes belong to a member in a way that the engine does not follow.',
    'Pack it again as plain ustar or pax, without sparse files.',
  ],
  'unscannable:xz-filter': ['The xz file uses a filter or a dictionary that the engine does not know.', 'Pack it with the defaults of xz.'],
  'unscannable:several-streams': [
    'The engine unpacks only the first of the compressed streams in this file.',
    'Pack it as one stream: with bzip2 or xz itself, or as gzip.',
  ],
  'unscannable:self-extracting': [
    'A program carries packed files with it in a way that the engine does not follow.',
    'Upload the packed files themselves, as zip or tar.gz.',
  ],
  'unscannable:two-formats': [
    'The file can be read as two formats, and the engine reads it as one of them.',
    'Pack it again; in a tar, give the first member another name.',
  ],
  'unscannable:rar': ['This engine was built without support for RAR.', 'Pack it as zip, or install the unrar module of ClamAV.'],
  'unscannable:zstd': ['The engine does not unpack Zstandard.', 'Pack it as gzip or xz.'],
  'unscannable:lz4': ['The engine does not unpack LZ4.', 'Pack it as gzip or xz.'],
  'unscannable:lzma': ['The engine does not unpack bare LZMA.', 'Pack it as xz.'],
  'unscannable:lzip': ['The engine does not unpack lzip.', 'Pack it as xz.'],
  'unscannable:compress': ['The engine does not unpack this old compression.', 'Pack it as gzip or xz.'],
  'unscannable:ar': [
    'The engine does not open .deb packages and static libraries inside another archive.',
    'Upload a .deb by itself; leave static libraries out.',
  ],
  'unscannable:rpm': ['The engine does not open rpm packages.', 'Upload what it installs as tar.gz.'],
  'unscannable:squashfs': ['The engine does not open SquashFS, of which AppImages and snaps are made.', 'Upload what is in it as tar.gz.'],
  'unscannable:disk-image': [
    'The engine does not look into the file systems of this disk image.',
    'Upload what is in it as zip or tar.gz.',
  ],
  'unscannable:several-reasons': [
    'The archive holds several things that the engine cannot judge, for different reasons.',
    'Upload what is in it as separate files to see which.',
  ],
  'unscannable:format': ['The engine does not unpack this container format.', 'Pack it as zip or tar.gz.'],
} as const satisfies Record<string, readonly [meaning: string, action: string]>;

export type Reason = keyof typeof reasons;
export type UnscannableReason = Extract<Reason, `unscannable:${string}`>;

/** Ends of a lease without a verdict; design: "give back". */
export type GiveBackCode =
  | 'engine-unavailable'
  | 'engine-busy'
  | 'engine-reply'
  | 'store-unavailable'
  | 'download'
  | 'download:missing'
  | 'interrupted'
  | 'unexpected';
export const giveBackCodes: readonly GiveBackCode[] = [
  'engine-unavailable',
  'engine-busy',
  'engine-reply',
  'store-unavailable',
  'download',
  'download:missing',
  'interrupted',
  'unexpected',
];

export function isReason(code: string): code is Reason {
  return Object.hasOwn(reasons, code);
}

import { ascii, begins, type FirstBytes, hex } from './first-bytes.ts';
import { isTar } from './tar-header.ts';

const ustar = ascii('ustar', 257);
/** GPT. clamd takes any file for a disk that has this here. */
const partitionTable = ascii('EFI PART', 512);
/** clamd takes it for a document of Hangul. */
const laterOle2 = hex('d0cf11e0a1b11ae1', 4);

/**
 * What clamd takes a file for is decided by one line of its table (filetypes_int.h of 1.4, the last that fits), so a file that fits
 * two lines is unpacked by one reader and seen by clamd as something else. `isSpecial` says that it begins like a known archive.
 */
export function isTwofold(head: Buffer, isSpecial: boolean): boolean {
  if (begins(head, laterOle2)) return true;
  const tar = isTar(head);
  if ((tar || isSpecial) && begins(head, partitionTable)) return true;
  if (begins(head, ustar)) return !tar || beforeUstar.some((first) => begins(head, first));
  return tar && [...beforeUstar, ...beforeOldTar].some((first) => begins(head, first));
}

const bytes = (...texts: readonly string[]) => texts.map((text) => hex(text));
const words = (...texts: readonly string[]) => texts.map((text) => ascii(text));

/** Beginnings that count more than the mark of a tar. Of compiled Python, what all its versions have in common. */
const beforeUstar: readonly FirstBytes[] = [
  ...bytes('cefaedfe', 'cffaedfe', 'feedface', 'feedfacf', '71c7', 'c771', 'd9d505f9', '0000000c6a50', '000001b3', '000001ba', 'cafebabe'),
  ...bytes('4c000000', '89504e47', 'ffd8ff', '49492a00', 'e4525c7b', '02099900', '03099900', 'fd377a585a00', '377abcaf271c', '377f06'),
  ...words('Received-SPF: ', '07070', '%PDF-', 'SYMC', 'SQLite format 3', 'FWS', 'CWS', 'ZWS', 'MSCF', 'xar!', 'HWP Document File'),
  ...words('{\\rt', '%!PS-Adobe-', 'EGGA', 'ALZ\x01', 'GIF', 'MM', '{ "M', '{\n  "M'),
  ascii('\r\n', 2),
];

/** And those that count more than the sum of a tar without that mark. */
const beforeOldTar: readonly FirstBytes[] = [
  ...bytes('1f8b', '23407e5e', '60ea', '789f3e22', '7f454c46', 'b6b9acae', 'd0cf11e0', 'fffb90', 'fffe', 'feff'),
  ...words('(This file', '.RMF', '>From ', 'BM', 'BZh', 'Date: ', 'Delivered-To: ', 'Delivery-date: ', 'Envelope-to: ', 'For: ', 'From'),
  ...words('Hi. This', 'ID3', 'ITSF', 'MZ', 'Message-I', 'OggS', 'PK', 'RIF', 'Rar!', 'Received: ', 'Return-', 'SZDD', 'Subject: '),
  ...words('To: ', 'X-', 'begin ', 'v:', 'SIP-HIT', '[aliases]'),
];

// Package bundle reads what support engineers are sent: archives of many files,
// of any depth up to a limit, and single files that are compressed.
//
// Formats are known by their first bytes, never by their names: zip (also with
// names in a code page, backslashes and data descriptors), tar, cabinets, gzip,
// xz, zstd and bzip2. A bundle is read once, member by member, from its beginning
// to its end; zips and cabinets inside of an archive are all that is kept
// meanwhile, in a file. No name of a member is ever used as a path.
//
// What is read is bounded: the number of members, the bytes that they unpack to,
// the depth of archives in archives, and the memory of a decompressor. A member
// that cannot be read, and a limit that was reached, are reported and are not the
// end of the rest.
package bundle

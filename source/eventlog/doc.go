// Package eventlog reads the event logs of Windows: .evtx files, the XML of
// wevtutil and of the event viewer, and Get-WinEvent as CSV. Several files are
// one source; the same entry in several of them counts once.
//
// # Entries
//
// The texts of entries are not in the files but in programs of the host: what an
// entry reports is known by its provider and number, see Known, and said in
// lostbeat's own words. Entries that bear on lost heartbeats or ports become
// host.event events; of the others the number is noted.
//
// # evtx
//
// A file has a header of 4096 bytes ("ElfFile") and chunks of 65536 ("ElfChnk")
// that each stand alone. The header of a file that was copied while it was
// written is old: chunks are read up to the end of the file, and the order is
// that of time. A record is 2a 2a 00 00, its size, number, FILETIME, and binary
// XML whose names and templates are at offsets in the chunk ([MS-EVEN6] 2.2.12).
// A damaged record costs itself; the next is looked for.
//
// # XML and CSV
//
// wevtutil writes events one after another, with a root element only where it
// was asked for one, in UTF-8 or UTF-16. Times in XML are UTC. Those in CSV are
// local and in the order of the culture: what stays open is assumed, and said.
package eventlog

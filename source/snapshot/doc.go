// Package snapshot reads tables of sockets as customers send them: netstat of
// Windows and Linux, Get-NetTCPConnection and Get-NetUDPEndpoint (table, list,
// CSV, JSON), ss, and /proc/net/{tcp,udp,tcp6,udp6}. Several files are one
// source: tables of the same moment are joined, tables of several moments are a
// series. Lists of processes (tasklist, ps, Get-Process) beside them name the
// owners, and the output of netsh or sysctl gives the range of dynamic ports.
//
// # Text
//
// Rows are known by their shape, not by words: a protocol, and addresses with
// ports. Each line is decoded by itself, because support scripts append bytes of
// the OEM code page to a file that begins in UTF-16. The states of connections
// are translated on some systems: a table has the known words, the rest is
// decided by where a word is used (remote end 0.0.0.0:0: listening or bound;
// process 0: TIME_WAIT).
//
// # Counts
//
// What is counted are distinct local ports of a protocol, not rows: a socket for
// IPv4 and IPv6 has two rows, and with netstat -q a connected socket that was
// bound before has a row in BOUND and one in ESTABLISHED.
//
// # Times
//
// A table does not say when it was made. The time is, in this order: a line with
// a date in the file, the file's name, the newest CreationTime (a lower bound),
// the file's modification time. Tables whose time is only the modification time, and
// which have the same one, are no series. Table events say which it was.
package snapshot

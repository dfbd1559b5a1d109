// Package rpcbind asks the RPC endpoint mapper of a Unix host (rpcbind, the older
// portmap) which programs are registered with it, and at which addresses.
//
// Messages are those of ONC RPC, RFC 5531, over a stream with record marks, in
// XDR, RFC 4506. The list of registrations is RPCBPROC_DUMP of version 3 of the
// protocol, RFC 1833, or PMAPPROC_DUMP of version 2 where the server has no other.
//
// An answer is bounded in time by the caller's context, and in size by maxAnswer
// and MaxRegistrations, whatever the server sends.
package rpcbind

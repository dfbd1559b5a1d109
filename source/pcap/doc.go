// Package pcap reads captures of packets: pcap and pcapng, of tcpdump,
// Wireshark, dumpcap and their like, of both byte orders and any resolution.
//
// github.com/gopacket/gopacket/pcapgo decodes the two formats. What stands in
// front of it here finds out where a file is damaged, lets it go on behind
// that, and keeps from it what would take memory without bound: a pcapng file
// is handed on block by block, each checked, without blocks and options that
// are not used.
//
// A file is read twice. The first pass, when it is opened, counts, finds the
// times, and finds out which host the packets were captured on; the second
// makes events of them. Only the state of flows is kept in memory.
//
// A capture has the packets of a wire, not those of a host. Which way a packet
// went is said by Linux cooked captures and by some pcapng files. Otherwise the
// host is the one hardware or IP address that all packets have in common; where
// there is none, or two, each packet is taken as received by its destination.
package pcap

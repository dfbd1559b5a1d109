// Package pktmon decodes the packets in traces of Windows: those of Packet
// Monitor (pktmon start --capture --etw), which also reports what drivers and
// protocols dropped and why, and those of NDIS packet capture (netsh trace
// start capture=yes).
//
// Packet Monitor reports a packet at each component that it passes, up to
// thirteen times. A packet is counted where it is on the wire: at the lower
// edge of an adapter. A packet that is dropped is reported by each layer and by
// each socket that refuses it; reports with the same bytes within 5 ms are of
// one packet, for which the reason counts that tells most.
//
// NDIS packet capture reports a packet at each layer of filters of an adapter;
// one layer of each adapter counts.
package pktmon

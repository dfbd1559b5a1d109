package drop

import (
	"fmt"
	"strings"

	"lostbeat/model"

	"github.com/cilium/ebpf/btf"
)

// Flags of a reason, enum drop_reason_flag of drop.bpf.c.
const (
	flagIgnore = 1 << iota
	flagByInputIf
	flagHeaders
	flagQueue
	flagAnonymous
	flagUnspecified
	flagEarly
	flagForwarded
)

// subsystemMask selects the bits of a reason that name its subsystem; 0 is the
// core, the others number their reasons themselves.
const subsystemMask = 0xffff0000

// reasonNames are the drop reasons of the running kernel.
type reasonNames struct {
	core map[uint32]string
	// subsystems are the reasons of modules, read when the first is met.
	subsystems map[uint32]string
}

// loadReasons reads enum skb_drop_reason. A kernel without it (before 5.17)
// returns btf.ErrNotFound.
func loadReasons(kernel *btf.Spec) (*reasonNames, error) {
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("read the drop reasons: %w", err)
	}
	return &reasonNames{core: namesOf(enum)}, nil
}

func namesOf(enum *btf.Enum) map[uint32]string {
	names := make(map[uint32]string, len(enum.Values))
	for _, v := range enum.Values {
		if strings.HasSuffix(v.Name, "_MASK") {
			continue
		}
		names[uint32(v.Value)] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
	return names
}

// name returns a reason's name, or its number where the kernel has none.
func (r *reasonNames) name(reason uint32) string {
	names := r.core
	if reason&subsystemMask != 0 {
		if r.subsystems == nil {
			r.subsystems = loadSubsystems()
		}
		names = r.subsystems
	}
	if name, ok := names[reason]; ok {
		return name
	}
	if reason == 0 {
		return reasonNotSpecified
	}
	return fmt.Sprintf("reason(%#x)", reason)
}

// loadSubsystems reads the reasons of the subsystems that number their own,
// from the kernel or from their modules.
func loadSubsystems() map[uint32]string {
	names := make(map[uint32]string)
	for enumName, module := range map[string]string{"mac80211_drop_reason": "mac80211", "ovs_drop_reason": "openvswitch"} {
		var enum *btf.Enum
		kernel, err := btf.LoadKernelSpec()
		if err != nil || kernel.TypeByName(enumName, &enum) != nil {
			spec, err := btf.LoadKernelModuleSpec(module)
			if err != nil || spec.TypeByName(enumName, &enum) != nil {
				continue // not loaded: its reasons do not occur
			}
		}
		for value, name := range namesOf(enum) {
			names[value] = name
		}
	}
	return names
}

// flags says what the BPF programs must know about each core reason.
func (r *reasonNames) flags() (flags [256]uint8) {
	for value, name := range r.core {
		if value >= uint32(len(flags)) {
			continue
		}
		flags[value] = flagsOf(name)
	}
	return flags
}

func flagsOf(reason string) (flags uint8) {
	switch reason {
	case "SKB_NOT_DROPPED_YET", "SKB_CONSUMED":
		return flagIgnore
	case "NO_SOCKET",
		"UDP_CSUM",
		"TCP_CSUM",
		"SOCKET_FILTER",
		"SOCKET_RCVBUFF",
		"PROTO_MEM",
		"TCP_INVALID_SYN",
		"XFRM_POLICY":
		flags |= flagHeaders
	case "NETFILTER_DROP":
		flags |= flagHeaders | flagForwarded
	}
	if isEarly(reason) {
		flags |= flagEarly | flagHeaders
	}
	if reason == "SOCKET_RCVBUFF" || reason == "PROTO_MEM" {
		flags |= flagQueue
	}
	// What TCP throws away in the life of a healthy connection, at its end above
	// all, would fill the table with sockets.
	switch {
	case reason == reasonNotSpecified:
		flags |= flagUnspecified
	case reason == "QUEUE_PURGE",
		reason == "SOCKET_CLOSE",
		strings.HasPrefix(reason, "TCP_") && PlaceOf(reason, "") == model.PlaceProtocol:
		flags |= flagAnonymous
	}
	// Once a packet is in a socket's hands, the space of skb->dev holds something else.
	if strings.HasPrefix(reason, "TCP_") || strings.HasPrefix(reason, "SOCKET_") ||
		reason == "PROTO_MEM" || reason == "UDP_CSUM" || reason == "QUEUE_PURGE" || reason == "SKB_UCOPY_FAULT" {
		flags |= flagByInputIf
	}
	return flags
}

// tracepointArgs returns the number of arguments of a tracepoint, 0 when the
// kernel does not have it.
func tracepointArgs(kernel *btf.Spec, name string) int {
	var typedef *btf.Typedef
	if kernel.TypeByName("btf_trace_"+name, &typedef) != nil {
		return 0
	}
	pointer, ok := typedef.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params) - 1 // the first is the tracepoint's private data
}

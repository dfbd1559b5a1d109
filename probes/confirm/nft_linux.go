package confirm

import (
	"errors"
	"fmt"

	"lostbeat/model"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nfFamilies are the families of netfilter tables (NFPROTO_*).
var nfFamilies = map[uint8]string{1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}

// readNFT reads the rules and policies of nftables that drop packets, those of
// iptables-nft included.
func readNFT(q *answer) error {
	var found ruleset
	err := q.inside(func() error {
		for _, dump := range []struct {
			message int
			add     func([]byte) error
		}{
			{unix.NFT_MSG_GETCHAIN, found.addChain},
			{unix.NFT_MSG_GETRULE, found.addRule},
		} {
			request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|dump.message, unix.NLM_F_DUMP)
			request.AddRawData(make([]byte, 4)) // struct nfgenmsg: all families
			var malformed error
			err := request.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
				malformed = errors.Join(malformed, dump.add(message))
				return malformed == nil
			})
			if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
				return errors.New("this kernel has no nftables")
			} else if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
				return fmt.Errorf("list nftables rules: %w", err)
			}
			if malformed != nil {
				return malformed
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("%d rules, %d chains", found.rules, found.chains)
	if found.maps > 0 {
		detail += fmt.Sprintf(", %d rules with verdict maps, which may also drop", found.maps)
	}
	q.addRules(found.dropping, found.rules, detail)
	return nil
}

// addRules adds a reading with the number of rules that drop, and one for each
// of those, the busiest first.
func (q *answer) addRules(dropping []rule, of int, detail string) {
	q.add(model.Reading{Value: float64(len(dropping)), Limit: float64(of), Unit: "rules", Detail: detail})
	sortRules(dropping)
	for _, r := range dropping {
		text := r.text
		if !r.counted {
			text += " (no counter)"
		}
		q.add(model.Reading{Instance: r.where, Value: float64(r.packets), Unit: "packets", Detail: text})
	}
}
